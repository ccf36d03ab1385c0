"""Rename, resize, update."""

from __future__ import annotations

import msgspec

from sampan.engine import names
from sampan.engine.bundle.resources import make_resources
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.events import container_event
from sampan.engine.restart_policy import check_policy
from sampan.engine.restarting import Restarter
from sampan.errors import Conflict, InvalidArgument, Unsupported
from sampan.lean import Undo
from sampan.spec import docker
from sampan.spec.limits import parse_resources


def rename_container(core: Core, container: Container, new_name: str) -> None:
    """See `Containers.rename`.

    Raises:
        InvalidArgument, Conflict: in Docker's words.
    """
    name = new_name.removeprefix("/")
    names.check_name(name)
    with container.lock:
        old_name = container.record.name
        if name == old_name:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        if container.removed:
            raise Conflict(f"container {container.id} is marked for removal")
        record = msgspec.structs.replace(container.record, name=name)
        event = container_event(container, "rename", name=name, oldName=f"/{old_name}")
        with Undo() as undo:
            core.index.reserve_name(name, container.id)
            undo.add(core.index.release_name, name, container.id)
            with core.journal.transaction():
                core.journal.save_request(record)
                core.journal.add_event(event)
            undo.commit()
        container.record = record
        core.index.release_name(old_name, container.id)
    core.events.publish(event)


def resize_container(core: Core, container: Container, *, height: int, width: int) -> None:
    """See `Containers.resize`."""
    shim = container.shim
    if not container.running or shim is None:
        raise Conflict(f"container {container.id} is not running")
    shim.resize(height, width)
    core.events.emit(container_event(container, "resize", height=str(height), width=str(width)))


def update_container(
    core: Core, container: Container, request: docker.ContainerUpdate, restarter: Restarter
) -> docker.UpdateResponse:
    """See `Containers.update`: a field that is zero, empty or null stays as it is.

    Raises:
        InvalidArgument, Unsupported: the new limits together are wrong, or cannot be honoured.
    """
    policy = request.RestartPolicy if request.RestartPolicy and request.RestartPolicy.Name else None
    if policy is not None:
        check_policy(policy, auto_remove=False)
    warnings: list[str] = []
    with container.lock:
        if container.removed:
            raise Conflict(f"container {container.id} is marked for removal")
        host = msgspec.structs.replace(container.record.host, **_changes(request))
        if policy is not None:
            if host.AutoRemove and policy.Name != "no":
                raise InvalidArgument(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container"
                )
            host = msgspec.structs.replace(host, RestartPolicy=policy)
        limits = make_resources(host, core.machine, pids_limit=core.settings.pids_limit, warn=warnings.append)
        if container.running:
            manager = core.cgroup(container)
            try:
                manager.apply(parse_resources(limits))
            finally:
                manager.close()
        record = msgspec.structs.replace(container.record, host=host)
        event = container_event(container, "update")
        with core.journal.transaction():
            core.journal.save_request(record)
            core.journal.add_event(event)
        container.record = record
    core.events.publish(event)
    if policy is not None:
        restarter.policy_changed(container)
    return docker.UpdateResponse(Warnings=warnings)


_CHANGEABLE = (
    "BlkioWeight",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "NanoCpus",
    "PidsLimit",
)


def _changes(request: docker.ContainerUpdate) -> dict[str, object]:
    """Return the fields to change; NanoCpus and the CFS pair replace each other.

    Raises:
        Unsupported: a field is set that cannot be changed on a container.
    """
    neutral = docker.ContainerUpdate()
    for field in docker.Resources.__struct_fields__:
        if field not in _CHANGEABLE and getattr(request, field) not in (getattr(neutral, field), None, -1):
            raise Unsupported(f"not supported yet: changing {field} of a container")
    changes = {field: getattr(request, field) for field in _CHANGEABLE}
    changes = {field: value for field, value in changes.items() if value not in (0, "", None)}
    if request.PidsLimit == 0:
        changes["PidsLimit"] = -1  # here 0 is a wish: null means unchanged
    if "NanoCpus" in changes:
        changes.update(CpuPeriod=0, CpuQuota=0)
    elif "CpuQuota" in changes or "CpuPeriod" in changes:
        changes["NanoCpus"] = 0
    return changes
