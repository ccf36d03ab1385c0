"""Images as one archive: what `docker load` reads, and an OCI layout at the same time.

Blobs go out as they lie here, compressed layers too (every reader inflates them by their first bytes), each
once however many images have it. Source: moby, image/spec v1.3; OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

import msgspec

from sampan.errors import NotFound
from sampan.ids import Digest, digest_hex, parse_digest
from sampan.spec.image import (
    CONTAINERD_NAME,
    OCI_INDEX,
    REF_NAME,
    Descriptor,
    DockerArchiveEntry,
    Index,
    LayoutMarker,
    encode,
)
from sampan.store.archive.headers import DIRECTORY, REGULAR
from sampan.store.archive.writer import Sink, TarWriter
from sampan.store.blobs import Blobs
from sampan.store.catalog import Catalog
from sampan.store.model import Image
from sampan.store.pins import Pins
from sampan.store.references import Reference
from sampan.store.sources import LayerSources

_FOLDERS: Final = (b"blobs/", b"blobs/sha256/")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image to save, and the names it is to have in the archive.

    index: what these names mean when images for other platforms go along: others. more: what that index names
    besides images.
    """

    image: Image
    names: tuple[Reference, ...]
    index: Descriptor | None = None
    others: tuple[Image, ...] = ()
    more: tuple[Digest, ...] = ()

    @property
    def images(self) -> tuple[Image, ...]:
        """All of them, the one that is meant without a platform first."""
        return self.image, *self.others


class Saving:
    """Opens archives of recorded images; thread-safe."""

    def __init__(self, catalog: Catalog, blobs: Blobs, sources: LayerSources, pins: Pins) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._sources = sources
        self._pins = pins

    def open(self, wanted: Sequence[Wanted], *, without: frozenset[Digest] = frozenset()) -> OpenSave:
        """Return an archive ready to be written; its blobs stay until it is closed.

        without: blobs that whoever reads it has already.

        Raises:
            NotFound: an image has gone.
        """
        merged = _merge(wanted)
        images = [image for one in merged for image in one.images]
        layers = {image.id: [source.blob for source in self._sources.of(image)] for image in images}
        held = {
            digest
            for image in images
            for digest in (image.id, parse_digest(image.manifest.digest), *layers[image.id])
        }
        for one in merged:
            held |= {*one.more, *([parse_digest(one.index.digest)] if one.index else [])}
        self._pins.add(held)
        opened = OpenSave(self._blobs, self._pins, merged, layers, held, without)
        for image in images:
            if self._catalog.find(image.id) is None:
                opened.close()
                raise NotFound(f"No such image: {image.id}")
        return opened


class OpenSave:
    """An archive of images; use it in a `with`."""

    def __init__(
        self,
        blobs: Blobs,
        pins: Pins,
        images: Sequence[Wanted],
        layers: dict[Digest, list[Digest]],
        held: Iterable[Digest],
        without: frozenset[Digest],
    ) -> None:
        self._blobs = blobs
        self._pins = pins
        self._images = images
        self._layers = layers
        self._held = sorted(held)
        self._without = without

    def write(self, sink: Sink) -> None:
        """Write everything."""
        writer = TarWriter(sink)
        for folder in _FOLDERS:
            writer.header(folder, DIRECTORY, mode=0o755)
        for digest in (one for one in self._held if one not in self._without):
            self._write_blob(writer, digest)
        documents = {
            "index.json": encode(Index(schemaVersion=2, mediaType=OCI_INDEX, manifests=self._descriptors())),
            "manifest.json": msgspec.json.encode([self._entry(one) for one in self._images]),
            "oci-layout": encode(LayoutMarker(imageLayoutVersion="1.0.0")),
        }
        for name, content in documents.items():
            _write_document(writer, name, content)
        writer.finish()

    def _write_blob(self, writer: TarWriter, digest: Digest) -> None:
        with self._blobs.open(digest) as file:
            size = os.fstat(file.fileno()).st_size
            writer.header(_blob_name(digest).encode(), REGULAR, mode=0o644, size=size)
            writer.data(file.fileno(), size)

    def _descriptors(self) -> list[Descriptor]:
        return [
            descriptor
            for one in self._images
            for descriptor in (
                [_named(one.index or one.image.manifest, name) for name in one.names] or [one.image.manifest]
            )
        ]

    def _entry(self, one: Wanted) -> DockerArchiveEntry:
        return DockerArchiveEntry(
            Config=_blob_name(one.image.id),
            RepoTags=[name.familiar for name in one.names],
            Layers=[_blob_name(digest) for digest in self._layers[one.image.id]],
        )

    def close(self) -> None:
        """Let the blobs go; may be called twice."""
        self._pins.drop(self._held)
        self._held = []

    def __enter__(self) -> OpenSave:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _merge(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return each image, or index, once, with all names it was asked for by."""
    merged: dict[tuple[Digest, str], Wanted] = {}
    for one in wanted:
        key = one.image.id, one.index.digest if one.index else ""
        earlier = merged.get(key)
        names = dict.fromkeys((*earlier.names, *one.names) if earlier else one.names)
        merged[key] = replace(one, names=tuple(names))
    return list(merged.values())


def _named(manifest: Descriptor, name: Reference) -> Descriptor:
    annotations = {CONTAINERD_NAME: str(name), REF_NAME: name.tag}
    return Descriptor(
        mediaType=manifest.mediaType, digest=manifest.digest, size=manifest.size, annotations=annotations
    )


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest_hex(digest)}"


def _write_document(writer: TarWriter, name: str, content: bytes) -> None:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        writer.header(name.encode(), REGULAR, mode=0o644, size=len(content))
        writer.data(fd, len(content))
    finally:
        os.close(fd)
