"""Disk usage in full: what Docker's document has no place for (GET /sampan/v1/system/df)."""

from __future__ import annotations

import msgspec

from sampan.engine.builds.cache import BuildCache, only_built
from sampan.engine.core import Core
from sampan.engine.observing.usage import container_bytes, layer_bytes, used_layer_bytes
from sampan.errors import NotFound
from sampan.spec import docker


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a kind there are, how many are in use, their bytes, and those a prune would free."""

    Total: int = 0
    Active: int = 0
    Size: int = 0
    Reclaimable: int = 0


class FullUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to GET /sampan/v1/system/df; all in bytes.

    Images: unpacked layers, each once. Blobs: what the images came in, kept for saving and pushing. Logs is
    part of Containers. Everything: all files of the data root.
    """

    Images: Share
    Containers: Share
    Volumes: Share
    BuildCache: Share
    Logs: int
    Blobs: int
    InitLayers: int
    Temporary: int
    Database: int
    Everything: int


def full_usage(core: Core, builds: BuildCache) -> FullUsage:
    """See `System.full_usage`."""
    images = core.store.images.list()
    layers = layer_bytes(core, images)
    size = layers.without(only_built(core, builds.steps()))
    used = {container.record.image_id for container in core.index.all()}
    containers, logs = _containers(core)
    rest = core.store.usage()
    return FullUsage(
        Images=Share(
            Total=len(images),
            Active=sum(image.id in used for image in images),
            Size=size,
            Reclaimable=size - used_layer_bytes(core, images, layers),
        ),
        Containers=containers,
        Volumes=_volumes(core),
        BuildCache=_builds(builds),
        Logs=logs,
        Blobs=rest.blobs,
        InitLayers=rest.init_layers,
        Temporary=rest.temporary,
        Database=rest.database,
        Everything=rest.everything,
    )


def _builds(builds: BuildCache) -> Share:
    """What images or containers have is counted with them; the rest is what `builder prune --all` frees."""
    kept = builds.all()
    own = [one for one in kept if not one.shared]
    return Share(
        Total=len(kept),
        Active=sum(one.in_use for one in kept),
        Size=sum(one.size_bytes for one in own),
        Reclaimable=sum(one.size_bytes for one in own if not one.in_use),
    )


def _volumes(core: Core) -> Share:
    """Volumes of other drivers have no size here; reclaimable are those that no container names."""
    usages = [one.UsageData for one in core.volumes.disk_usage()]
    known = [usage for usage in usages if isinstance(usage, docker.VolumeUsage)]
    return Share(
        Total=len(known),
        Active=sum(usage.RefCount > 0 for usage in known),
        Size=sum(max(0, usage.Size) for usage in known),
        Reclaimable=sum(max(0, usage.Size) for usage in known if usage.RefCount == 0),
    )


def _containers(core: Core) -> tuple[Share, int]:
    """Return the share of containers, and the bytes of their logs."""
    size = reclaimable = logs = active = 0
    every = core.index.all()
    for container in every:
        try:
            found = container_bytes(core, container.id)
        except NotFound:
            continue  # removed meanwhile
        size += found.total
        logs += found.log
        active += container.active
        reclaimable += 0 if container.active else found.total
    return Share(Total=len(every), Active=active, Size=size, Reclaimable=reclaimable), logs
