"""What a data root occupies besides layers, in bytes of files."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sampan.store.places import Places
from sampan.store.trees import tree_size


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Bytes by kind. everything: all files below the data root, whoever made them."""

    blobs: int
    init_layers: int
    temporary: int
    database: int
    everything: int


def store_usage(places: Places) -> StoreUsage:
    """Measure a data root; what goes meanwhile is not counted."""
    return StoreUsage(
        blobs=tree_size(places.images),
        init_layers=_init_layers(places),
        temporary=tree_size(places.temporary),
        database=_files_named(places.root, os.path.basename(places.database)),
        everything=tree_size(places.root),
    )


def _init_layers(places: Places) -> int:
    total = 0
    for name in os.listdir(places.layers):
        try:
            total += tree_size(f"{places.layers}/{name}/init")
        except FileNotFoundError:
            continue  # made with the first container
    return total


def _files_named(folder: str, prefix: str) -> int:
    """Sum the files of a database: itself, its log and its index of that."""
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.name.startswith(prefix))
