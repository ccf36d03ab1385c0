"""Removes blobs and layers that no image, no snapshot and no running work needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sampan.errors import NotFound
from sampan.ids import Digest
from sampan.store.blobs import Blobs
from sampan.store.catalog import Catalog
from sampan.store.database import Database
from sampan.store.layers import Layers
from sampan.store.pins import Pins
from sampan.store.remover import Remover
from sampan.store.trees import remove_tree

_LARGE: Final = 32 << 20  # bytes: up to this the caller waits, as 10 ms are not worth a thread


class Collector:
    """Looks at all records: called after something was removed or failed, and at the start. Thread-safe."""

    def __init__(
        self, db: Database, catalog: Catalog, blobs: Blobs, layers: Layers, pins: Pins, remover: Remover
    ) -> None:
        self._remover = remover
        self._db = db
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._pins = pins

    def collect(self) -> list[Digest]:
        """Remove what nothing needs; return the chain ids of the removed layers, highest first."""
        with self._pins.lock:
            gone = self.unneeded_layers()
            sizes = [self._layers.size(chain_id) for chain_id in gone]
            doomed = dict(zip(self._layers.forget(gone), sizes, strict=True))
            for digest in self._blobs.list() - self._catalog.needed_blobs():
                if digest not in self._pins:
                    self._remove_blob(digest)
        for path, size in doomed.items():  # outside of the lock: a large tree takes a while
            if size >= _LARGE:
                self._remover.remove(path)
            else:
                remove_tree(path)
        return gone

    def _remove_blob(self, digest: Digest) -> None:
        """Remove a blob; a large one's blocks are given back by another thread."""
        try:
            large = self._blobs.size(digest) >= _LARGE
        except NotFound:
            return
        if large:
            self._remover.remove(self._blobs.take_away(digest))
        else:
            self._blobs.delete(digest)

    def release(self, digests: Iterable[Digest]) -> None:
        """Remove these blobs, each unless it is needed."""
        with self._pins.lock:
            for digest in digests:
                if digest not in self._pins and not self._catalog.needs_blob(digest):
                    self._remove_blob(digest)

    def unneeded_layers(self) -> list[Digest]:
        """Return the chain ids of layers that no image, snapshot or pin needs, highest first."""
        needed: set[Digest] = set()
        for top in self._tops():
            needed.update(self._layers.chain(top))
        depth = {chain_id: len(self._layers.chain(chain_id)) for chain_id in self._layers.known() - needed}
        return sorted(depth, key=lambda chain_id: -depth[chain_id])

    def _tops(self) -> Iterable[Digest]:
        rows = self._db.query(
            "SELECT chain_id FROM images UNION SELECT chain_id FROM snapshots "
            "UNION SELECT chain_id FROM image_mounts UNION SELECT chain_id FROM build_layers"
        )
        recorded = {Digest(str(row[0])) for row in rows if row[0] is not None}
        known = self._layers.known()
        return (recorded & known) | {chain_id for chain_id in known if chain_id in self._pins}
