"""Compare what is kept with what it must be: blobs with their digests, unpacked layers with their blobs.

A blob is read once. A layer is unpacked anew beside the kept one, by the same code, and the trees compared:
kind, mode, owner, content, links, devices, attributes, times of files. What is looked at is pinned meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sampan.errors import NotFound, SampanError
from sampan.ids import Digest
from sampan.store.archive.attributes import OPAQUE_XATTRS, OVERLAY_XATTRS
from sampan.store.archive.walking import walk
from sampan.store.blobs import Blobs
from sampan.store.catalog import Catalog
from sampan.store.layers import Layers, LayerSource
from sampan.store.model import Image
from sampan.store.pins import Pins
from sampan.store.sources import LayerSources

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not what it should be. why: what differs; path: of the blob or the layer."""

    kind: Literal["damaged blob", "damaged layer"]
    name: Digest
    path: str
    why: str


class Verifier:
    """Reads everything that images need; thread-safe, and slow."""

    def __init__(
        self, catalog: Catalog, blobs: Blobs, layers: Layers, sources: LayerSources, pins: Pins
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._sources = sources
        self._pins = pins

    def verify(self, images: list[Image]) -> Iterator[Damage]:
        """Yield what is damaged; each blob and layer is looked at once."""
        bad: set[Digest] = set()
        for digest in sorted(self._catalog.needed_blobs()):
            with self._pins.held([digest]):
                why = self._blob_fault(digest)
            if why:
                bad.add(digest)
                yield Damage("damaged blob", digest, self._blobs.path(digest), why)
        seen: set[Digest] = set()
        for image in images:
            for source in self._layers_of(image, bad):
                if (
                    source.chain_id in seen
                    or source.blob in bad
                    or source.chain_id not in self._layers.known()
                ):
                    continue
                seen.add(source.chain_id)
                with self._pins.held([source.chain_id, source.blob]):
                    why = self._layer_fault(source)
                if why:
                    yield Damage(
                        "damaged layer", source.chain_id, self._layers.directory(source.chain_id), why
                    )

    def _layers_of(self, image: Image, bad: set[Digest]) -> tuple[LayerSource, ...]:
        try:
            return () if image.id in bad or image.manifest.digest in bad else tuple(self._sources.of(image))
        except SampanError:
            return ()  # removed meanwhile, or its documents are damaged, which was told

    def _blob_fault(self, digest: Digest) -> str:
        actual = hashlib.sha256()
        try:
            with self._blobs.open(digest) as file:
                while piece := file.read(_PIECE):
                    actual.update(piece)
        except NotFound:
            return "" if not self._catalog.needs_blob(digest) else "it is missing"
        except OSError as exc:
            return f"it cannot be read: {exc.strerror}"
        return (
            ""
            if f"sha256:{actual.hexdigest()}" == digest
            else f"its content has digest sha256:{actual.hexdigest()}"
        )

    def _layer_fault(self, source: LayerSource) -> str:
        try:
            with self._layers.unpacked_anew(source) as (fresh, unnamed):
                return _difference(fresh, self._layers.directory(source.chain_id), unnamed)
        except SampanError as exc:
            return str(exc)
        except OSError as exc:
            return f"it cannot be read: {exc.strerror} {exc.filename or ''}".strip()


def _difference(wanted: str, actual: str, unnamed: frozenset[bytes]) -> str:
    """Return the first difference between two trees; directories in unnamed have any attributes."""
    left, right = _described(wanted, unnamed), _described(actual, unnamed)
    while True:
        one, other = next(left, None), next(right, None)
        if one == other:
            if one is None:
                return ""
            continue
        paths = [found[0] for found in (one, other) if found is not None]
        path = min(paths)
        shown = os.fsdecode(path).encode(errors="replace").decode()
        if one is None or (other is not None and other[0] < one[0]):
            return f"/{shown} should not be there"
        if other is None or one[0] < other[0]:
            return f"/{shown} is missing"
        return f"/{shown} is another one"


_Described = tuple[bytes, tuple[object, ...]]


def _described(root: str, unnamed: frozenset[bytes]) -> Iterator[_Described]:
    """Yield every path of a tree with what must be equal, in the order of the walk."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for found in walk(fd, shown=b""):
            if found.leaving or not found.path:
                continue
            status = found.status
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR and found.path in unnamed:
                yield found.path, (kind,)
                continue
            # Whole seconds: the archive of a layer that was built has no more. Whiteouts have none.
            times = (status.st_mtime_ns // 10**9,) if kind in (stat.S_IFREG, stat.S_IFLNK) else ()
            facts = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, times)
            yield found.path, (*facts, _content(found.fd, status))
    finally:
        os.close(fd)


def _content(fd: int, status: os.stat_result) -> object:
    place = f"/proc/self/fd/{fd}"
    if stat.S_ISLNK(status.st_mode):
        return os.readlink("", dir_fd=fd)
    names = (
        sorted(os.listxattr(place)) if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else []
    )
    # overlayfs notes (origin, impure) on what was copied up; in no archive, and nothing to a lower directory.
    attributes = tuple(
        (name, os.getxattr(place, name))
        for name in names
        if not name.startswith(OVERLAY_XATTRS) or name in OPAQUE_XATTRS
    )
    if not stat.S_ISREG(status.st_mode):
        return attributes
    digest = hashlib.sha256()
    with open(place, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return status.st_size, digest.digest(), attributes
