"""Disk usage of the build cache: its steps' layers and its cache mounts, each byte counted in one place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sampan.engine.core import Core
from sampan.engine.times import format_time
from sampan.errors import NotFound
from sampan.ids import ContainerId, Digest
from sampan.spec import docker
from sampan.store.trees import tree_size

if TYPE_CHECKING:
    from sampan.build.cache import CacheRecord


def only_built(core: Core, records: Sequence[CacheRecord]) -> set[Digest]:
    """Return the chain ids of layers that neither an image nor a container has, only steps of builds."""
    found = {Digest(record.chain_id) for record in records if record.chain_id}
    found -= core.store.built.in_images()
    for container in core.index.all():
        try:
            found.difference_update(core.store.snapshots.chain(ContainerId(container.id)))
        except NotFound:
            continue
    return found


def build_cache(core: Core, records: Sequence[CacheRecord]) -> list[docker.BuildCache]:
    """List the cache: one entry a step, then one a cache mount.

    A layer that something else has is `Shared`, for it is counted there; so is one that an earlier entry has.
    """
    uncounted = only_built(core, records)
    known = set(core.store.layers.known())
    entries = []
    for record in records:
        chain = Digest(record.chain_id)
        entries.append(
            docker.BuildCache(
                ID=record.key,
                Type="regular",
                Description=record.line,
                InUse=False,
                Shared=chain in known and chain not in uncounted,
                Size=core.store.built.layer_size(chain),
                CreatedAt=format_time(record.created_ns),
                LastUsedAt=format_time(record.used_ns),
                UsageCount=record.uses,
            )
        )
        uncounted.discard(chain)
    return entries + _cache_mounts(f"{core.paths.data}/build-cache")


def _cache_mounts(folder: str) -> list[docker.BuildCache]:
    found = []
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    for name in names:
        try:
            size, status = tree_size(f"{folder}/{name}"), os.stat(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # pruned meanwhile
        found.append(
            docker.BuildCache(
                ID=name,
                Type="exec.cachemount",
                Description="cache mount",
                InUse=False,
                Shared=False,
                Size=size,
                CreatedAt=format_time(status.st_ctime_ns),
                LastUsedAt=format_time(status.st_mtime_ns),
            )
        )
    return found
