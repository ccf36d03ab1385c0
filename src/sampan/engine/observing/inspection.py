"""Inspect: a container's record in the shape of API 1.51."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from sampan.engine.bundle import posture
from sampan.engine.bundle.process import command_of
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.health.checks import Health
from sampan.engine.lifecycle.dependencies import network_owner
from sampan.engine.records import Record
from sampan.engine.times import format_time
from sampan.engine.volumes.mount_points import shown_mounts
from sampan.errors import InvalidArgument, NotFound
from sampan.ids import ContainerId, Digest
from sampan.spec import docker
from sampan.store.snapshotters import PLAIN


def inspect_container(core: Core, container: Container, *, size: bool) -> docker.ContainerInspect:
    """See `Containers.inspect`."""
    record = container.record
    command = command_of(record.config)
    files = core.paths.host_files(_network_owner_id(core, record))
    shown = core.networking.shown(record)
    rw, root = sizes(core, record) if size else (UNSET, UNSET)
    return docker.ContainerInspect(
        Id=record.id,
        Created=format_time(record.created_ns),
        Path=command[0],
        Args=command[1:],
        State=_state(container),
        Image=record.image_id,
        ResolvConfPath=files.resolv_conf,
        HostnamePath=files.hostname,
        HostsPath=files.hosts,
        RestartCount=record.state.restart_count,
        LogPath=core.paths.log(record.id) if record.host.LogConfig.Type in ("", "json-file") else "",
        Name=f"/{record.name}",
        ExecIDs=sorted(container.exec_ids) or None,
        HostConfig=_host_config(core, record),
        GraphDriver=_graph_driver(core, record),
        SizeRw=rw,
        SizeRootFs=root,
        Mounts=shown_mounts(record),
        Config=msgspec.structs.replace(record.config, Image=record.image, Hostname=record.config.Hostname),
        NetworkSettings=docker.NetworkSettings(
            SandboxKey=f"/proc/{record.state.pid}/ns/net" if container.running else "",
            Ports=core.networking.ports(record) if container.running else {},
            Networks=shown,
            **_default_addresses(shown.get("bridge")),
        ),
    )


def _network_owner_id(core: Core, record: Record) -> str:
    try:
        return network_owner(core.index, record).id
    except (InvalidArgument, NotFound):
        return record.id  # the container it joined is gone


def _state(container: Container) -> docker.State:
    state = container.state
    return docker.State(
        Status=state.status,
        Running=state.status in ("running", "paused", "restarting"),
        Paused=state.status == "paused",
        Restarting=state.status == "restarting",
        OOMKilled=state.oom_killed,
        Dead=state.status == "dead",
        Pid=state.pid,
        ExitCode=state.exit_code,
        Error=state.error,
        StartedAt=format_time(state.started_at_ns),
        FinishedAt=format_time(state.finished_at_ns),
        Health=UNSET if container.health is None else _health(container.health),
    )


def _health(health: Health) -> docker.Health:
    return docker.Health(
        Status=health.status,
        FailingStreak=health.failing_streak,
        Log=[
            docker.HealthcheckResult(
                Start=format_time(result.start_ns),
                End=format_time(result.end_ns),
                ExitCode=result.exit_code,
                Output=result.output,
            )
            for result in health.log
        ],
    )


def _host_config(core: Core, record: Record) -> docker.HostConfig:
    """Return the host configuration as it took effect: defaults filled in, the rest as the client sent it."""
    host = record.host
    kind = host.LogConfig.Type or "json-file"
    defaults = [*posture.MASKED_PATHS, *core.machine.thermal_paths]
    masked = defaults if host.MaskedPaths is None else host.MaskedPaths
    read_only = list(posture.READONLY_PATHS) if host.ReadonlyPaths is None else host.ReadonlyPaths
    return msgspec.structs.replace(
        host,
        LogConfig=docker.LogConfig(Type=kind, Config=host.LogConfig.Config),
        NetworkMode=host.NetworkMode or "default",
        Links=core.linking.shown(record) if host.Links else host.Links,
        RestartPolicy=msgspec.structs.replace(host.RestartPolicy, Name=host.RestartPolicy.Name or "no"),
        IpcMode=host.IpcMode or "private",
        CgroupnsMode=host.CgroupnsMode or ("private" if core.machine.cgroup_version == 2 else "host"),
        ShmSize=host.ShmSize or core.settings.shm_size_bytes,
        Runtime=record.runtime,
        MaskedPaths=[] if host.Privileged else masked,
        ReadonlyPaths=[] if host.Privileged else read_only,
    )


def _graph_driver(core: Core, record: Record) -> docker.GraphDriver:
    try:
        snapshot = core.store.snapshots.get(ContainerId(record.id))
    except NotFound:
        return docker.GraphDriver(Name=core.store.snapshots.drivers.choose())  # being removed
    if snapshot.driver == PLAIN:
        return docker.GraphDriver(Name=PLAIN)
    return docker.GraphDriver(
        Name=snapshot.driver,
        Data={
            "ID": record.id,
            "LowerDir": ":".join(reversed(snapshot.lower)),
            "MergedDir": snapshot.root,
            "UpperDir": snapshot.upper,
            "WorkDir": snapshot.work,
        },
    )


def _default_addresses(endpoint: docker.EndpointSettings | None) -> dict[str, Any]:
    """Return what NetworkSettings repeats of the default network, for old clients."""
    if endpoint is None:
        return {}
    names = (
        *("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress"),
        *("IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen"),
    )
    return {name: getattr(endpoint, name) for name in names}


def sizes(core: Core, record: Record) -> tuple[int, int]:
    """Return the bytes of the container's own files, and of its whole root."""
    own = core.store.snapshots.usage(ContainerId(record.id))
    try:
        image = core.store.images.get(Digest(record.image_id)).size_bytes
    except NotFound:
        image = 0
    return own, own + image
