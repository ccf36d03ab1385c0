"""The OCI image layout around the blobs: `oci-layout` and `index.json`, written from the records.

Source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import os
import threading

from sampan.kernel.files import write_atomic
from sampan.spec.image import CONTAINERD_NAME, OCI_INDEX, REF_NAME, Descriptor, Index, LayoutMarker, encode
from sampan.store.catalog import Catalog
from sampan.store.places import Places


class Layout:
    """Keeps `index.json` the same as the records; thread-safe."""

    def __init__(self, places: Places, catalog: Catalog) -> None:
        self._folder = places.images
        self._catalog = catalog
        self._lock = threading.Lock()

    def write(self) -> None:
        """Write both files anew where they differ from the records."""
        with self._lock:
            self._write("oci-layout", encode(LayoutMarker(imageLayoutVersion="1.0.0")))
            self._write("index.json", encode(self._index()))

    def sweep(self) -> None:
        """Remove what a process killed while it wrote has left (`write_atomic`'s new files)."""
        for name in os.listdir(self._folder):
            if name.startswith(".") and name.endswith(".new"):
                os.unlink(os.path.join(self._folder, name))

    def _write(self, name: str, content: bytes) -> None:
        path = os.path.join(self._folder, name)
        try:
            with open(path, "rb") as file:
                if file.read() == content:
                    return
        except FileNotFoundError:
            pass
        write_atomic(path, content)

    def _index(self) -> Index:
        """One descriptor for each tag, and one for each image without any."""
        names = self._catalog.first_names()  # a name twice would be none to other readers
        manifests: list[Descriptor] = []
        for record in sorted(self._catalog.all(), key=lambda record: record.added_ns):
            tags = [str(name) for name in names.get(record.id, ()) if name.tag]
            manifests += [_named(record.manifest, tag) for tag in tags] or [record.manifest]
        return Index(schemaVersion=2, mediaType=OCI_INDEX, manifests=manifests)


def _named(manifest: Descriptor, name: str) -> Descriptor:
    return Descriptor(
        mediaType=manifest.mediaType,
        digest=manifest.digest,
        size=manifest.size,
        annotations={REF_NAME: name, CONTAINERD_NAME: name},
    )
