"""Compare the store's records with its files: what nothing refers to, and what is missing.

Runs beside other work: everything is looked at under `Pins.lock`, which keeps new work, collection and this
apart; what is being made is pinned, or lies in `tmp/`. Files go outside of the lock.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from sampan.ids import Digest, digest_hex
from sampan.store.blobs import Blobs
from sampan.store.catalog import Catalog
from sampan.store.collector import Collector
from sampan.store.layers import Layers
from sampan.store.pins import Pins
from sampan.store.places import Places
from sampan.store.trees import remove_tree, tree_size

Kind = Literal["blob", "layer", "link", "temporary", "missing"]

OLD_S: Final = 24 * 3600.0  # what has been in tmp/ for so long belongs to no work that goes on
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something nothing refers to; of kind missing: something referred to that is not there."""

    kind: Kind
    name: str
    path: str
    size_bytes: int = 0


class StoreCheck:
    """Finds and removes what a data root should not hold."""

    def __init__(
        self, places: Places, catalog: Catalog, blobs: Blobs, layers: Layers, pins: Pins, collector: Collector
    ) -> None:
        self._places = places
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._pins = pins
        self._collector = collector

    def find(self) -> list[Leftover]:
        """Return everything that is wrong now, with sizes."""
        return [replace(one, size_bytes=_size(one.path)) for one in self._find()]

    def _find(self) -> list[Leftover]:
        with self._pins.lock:
            return [
                *self._find_blobs(),
                *self._find_layers(),
                *self._find_links(),
                *self._find_temporary(),
                *self._find_missing(),
            ]

    def remove(self, found: Leftover) -> None:
        """Remove what `find` gave, unless it has come into use; what is missing stays so.

        Raises:
            OSError: it cannot be removed.
        """
        with self._pins.lock:
            if replace(found, size_bytes=0) not in self._find():
                return
            doomed = self._take_away(found)
        if doomed:
            remove_tree(doomed)

    def _take_away(self, found: Leftover) -> str:
        """Put a directory where it is removed from, and return the place; remove a file at once."""
        if found.kind == "missing":
            return ""
        if found.kind == "layer" and _digest(found.name) in self._layers.known():
            self._collector.collect()
            return ""
        if not os.path.isdir(found.path) or os.path.islink(found.path):
            os.unlink(found.path)
            return ""
        doomed = self._places.new_temporary("leftover")
        os.rename(found.path, doomed)
        return doomed

    def _find_blobs(self) -> Iterator[Leftover]:
        needed = self._catalog.needed_blobs()
        for name in sorted(filter(_HEX.fullmatch, os.listdir(self._places.blobs))):
            digest = _digest(name)
            if digest not in needed and digest not in self._pins:
                yield Leftover("blob", name, self._places.blob(digest))

    def _find_layers(self) -> Iterator[Leftover]:
        """Directories without a record, and records that no image and no snapshot needs."""
        known = self._layers.known()
        unneeded = set(self._collector.unneeded_layers())
        for name in sorted(os.listdir(self._places.layers)):
            path = f"{self._places.layers}/{name}"
            is_ours = name == "scratch" or (_HEX.fullmatch(name) and self._is_wanted(name, known - unneeded))
            if not is_ours:
                yield Leftover("layer", name, path)

    def _is_wanted(self, name: str, wanted: set[Digest]) -> bool:
        return _digest(name) in wanted or _digest(name) in self._pins

    def _find_links(self) -> Iterator[Leftover]:
        known = {os.path.basename(self._layers.directory(chain_id)) for chain_id in self._layers.known()}
        for name in sorted(set(os.listdir(self._places.links)) - known):
            path = f"{self._places.links}/{name}"
            target = os.readlink(path).split("/") if os.path.islink(path) else []
            if not any(_HEX.fullmatch(part) and _digest(part) in self._pins for part in target):
                yield Leftover("link", name, path)

    def _find_temporary(self) -> Iterator[Leftover]:
        limit = time.time() - OLD_S
        for name in sorted(os.listdir(self._places.temporary)):
            path = f"{self._places.temporary}/{name}"
            try:
                if os.lstat(path).st_mtime < limit:
                    yield Leftover("temporary", name, path)
            except FileNotFoundError:
                continue  # its work is done

    def _find_missing(self) -> Iterator[Leftover]:
        for chain_id in sorted(self._layers.known()):
            if not os.path.isdir(f"{self._places.layer(chain_id)}/diff"):
                yield Leftover("missing", f"layer {digest_hex(chain_id)}", self._places.layer(chain_id))
        for digest in sorted(self._catalog.needed_blobs()):
            if not self._blobs.exists(digest):
                yield Leftover("missing", f"blob {digest_hex(digest)}", self._places.blob(digest))


def _digest(name: str) -> Digest:
    return Digest(f"sha256:{name}")


def _size(path: str) -> int:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            return tree_size(path)
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
