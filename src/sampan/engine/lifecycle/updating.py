"""Change a container that exists, running or not: limits, restart policy, health check."""

from __future__ import annotations

import msgspec

from sampan.engine.bundle.resources import make_resources
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.health.checks import check_health, merge_health
from sampan.engine.health.probing import Prober
from sampan.engine.lifecycle.restart_policy import check_policy
from sampan.engine.lifecycle.restarting import Restarter
from sampan.engine.networks.publishing import check_change, with_ports
from sampan.engine.observing.events import container_event
from sampan.errors import Conflict, InvalidArgument, Unsupported
from sampan.spec import docker
from sampan.spec.limits import parse_resources
from sampan.spec.runtime import LinuxResources


class Updater:
    """Updates containers; what runs is changed where it runs."""

    def __init__(self, core: Core, restarter: Restarter, prober: Prober) -> None:
        self._core = core
        self._restarter = restarter
        self._prober = prober

    def update(self, container: Container, request: docker.ContainerUpdate) -> docker.UpdateResponse:
        """See `Containers.update`: a field that is zero, empty or null stays as it is.

        Raises:
            InvalidArgument, Unsupported: the new values together are wrong, or cannot be honoured.
        """
        core = self._core
        policy = request.RestartPolicy if request.RestartPolicy and request.RestartPolicy.Name else None
        warnings: list[str] = []
        with container.lock:
            if container.removed:
                raise Conflict(f"container {container.id} is marked for removal")
            _check_memory(container, request)
            check_change(request)
            published = [
                one for _, endpoint in core.networking.networks.of(container.id) for one in endpoint.published
            ]
            host = with_ports(container.record, request, published)
            host = msgspec.structs.replace(host, **_changes(request))
            if policy is not None:
                host = _with_policy(host, policy)
            config = _with_health(container.record.config, request.Healthcheck)
            limits = make_resources(
                host, core.machine, pids_limit=core.settings.pids_limit, warn=warnings.append
            )
            if container.running:
                _apply(core, container, parse_resources(limits))
            record = msgspec.structs.replace(container.record, host=host, config=config)
            if container.running and (request.PublishAdd or request.PublishRemove):
                core.networking.change_ports(
                    record, add=request.PublishAdd or {}, remove=request.PublishRemove or {}
                )
            event = container_event(container, "update")
            with core.journal.transaction():
                core.journal.save_request(record)
                core.journal.add_event(event)
            container.record = record
            if request.Healthcheck is not None and container.running:
                self._prober.begin(container)
        core.events.publish(event)
        if policy is not None:
            self._restarter.policy_changed(container)
        return docker.UpdateResponse(Warnings=warnings)


def _apply(core: Core, container: Container, limits: LinuxResources) -> None:
    manager = core.cgroup(container)
    try:
        manager.apply(limits)
    except FileNotFoundError as exc:  # its shim has removed the cgroup: the news is on its way
        raise Conflict(f"container {container.id} has just ended") from exc
    finally:
        manager.close()


def _check_memory(container: Container, request: docker.ContainerUpdate) -> None:
    swap = container.record.host.MemorySwap
    if request.Memory > swap > 0 and not request.MemorySwap:
        reason = "Memory limit should be smaller than already set memoryswap limit"
        raise Conflict(
            f"Cannot update container {container.id}: {reason}, update the memoryswap at the same time"
        )


def _with_policy(host: docker.HostConfig, policy: docker.RestartPolicy) -> docker.HostConfig:
    check_policy(policy, auto_remove=False)
    if host.AutoRemove and policy.Name != "no":
        raise InvalidArgument(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    return msgspec.structs.replace(host, RestartPolicy=policy)


def _with_health(config: docker.Config, wanted: docker.HealthConfig | None) -> docker.Config:
    if wanted is None:
        return config
    check_health(wanted)
    return msgspec.structs.replace(config, Healthcheck=merge_health(wanted, config.Healthcheck))


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
