"""Disk usage: what images, containers and the rest occupy, in bytes of files (docs/observing.md)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sampan.engine.core import Core
from sampan.errors import NotFound
from sampan.ids import ContainerId, Digest
from sampan.store.digests import chain_ids
from sampan.store.model import Image
from sampan.store.trees import tree_size

# What lies in a container's directory besides its logs: the overlay's directories and the engine's own files.
_NO_LOG = frozenset(("config.json", "hostname", "hosts", "resolv.conf", "rootfs", "upper", "work"))


@dataclass(frozen=True, slots=True)
class ContainerBytes:
    """What a container keeps on the disk: its read-write layer, and its log with all rotated files."""

    layer: int
    log: int

    @property
    def total(self) -> int:
        """What goes when the container is removed."""
        return self.layer + self.log


def container_bytes(core: Core, container_id: str) -> ContainerBytes:
    """Measure one container.

    Raises:
        NotFound: its files are gone.
    """
    layer = core.store.snapshots.usage(ContainerId(container_id))
    return ContainerBytes(layer, log_bytes(core.paths.bundle(container_id)))


def log_bytes(folder: str) -> int:
    """Return the bytes of a container's log files: everything in its directory that is nothing else."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name not in _NO_LOG:
                    total += _bytes_of(entry)
    except FileNotFoundError:
        pass
    return total


def _bytes_of(entry: os.DirEntry[str]) -> int:
    try:
        if entry.is_dir(follow_symlinks=False):
            return tree_size(entry.path)
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0  # rotated away meanwhile


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """Sizes of layers by chain id, and how many images have each."""

    sizes: dict[Digest, int]
    images: Counter[Digest]

    def shared(self, image: Image) -> int:
        """Return the bytes of an image's layers that another image has too."""
        return sum(self.sizes.get(one, 0) for one in chain_ids(image.layers) if self.images[one] > 1)

    def without(self, others: Collection[Digest]) -> int:
        """Return the bytes of all layers but some."""
        return sum(size for chain_id, size in self.sizes.items() if chain_id not in others)

    def sum(self, chain: Sequence[Digest]) -> int:
        """Return the bytes of some layers, each counted once."""
        return sum(self.sizes.get(one, 0) for one in set(chain))


def layer_bytes(core: Core, images: Sequence[Image]) -> LayerBytes:
    """Measure every unpacked layer that images, containers or builds need."""
    layers = core.store.layers
    sizes = {one: layers.size(one) for one in layers.known()}
    users = Counter(one for image in images for one in set(chain_ids(image.layers)))
    return LayerBytes(sizes, users)


def used_layer_bytes(core: Core, images: Sequence[Image], layers: LayerBytes) -> int:
    """Return the bytes of layers that containers need: no prune of images frees them."""
    used = {container.record.image_id for container in core.index.all()}
    needed = {one for image in images if image.id in used for one in chain_ids(image.layers)}
    for container in core.index.all():  # an image may be gone while its layers stay for a container
        try:
            needed.update(core.store.snapshots.chain(ContainerId(container.id)))
        except NotFound:
            continue
    return layers.sum(list(needed))
