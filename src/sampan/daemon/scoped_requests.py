"""What a run-only client may ask of a container: everything but what reaches the host.

Default deny: a field of HostConfig that is in neither table must have its default value, so that a field
that comes later is refused until somebody has thought about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from sampan.daemon.scopes import OWNER, Scope
from sampan.engine.bundle.posture import CAPABILITIES
from sampan.errors import Forbidden
from sampan.spec import docker

T = TypeVar("T", bound=msgspec.Struct)
_Check = Callable[[Scope, object], bool]

_FREE: Final = frozenset(
    "AutoRemove CapDrop ConsoleSize ContainerIDFile CpuShares Memory NanoCpus CpuPeriod CpuQuota CpusetCpus "
    "CpusetMems MemoryReservation MemorySwap MemorySwappiness PidsLimit Init Ulimits BlkioWeight Dns "
    "DnsOptions DnsSearch ExtraHosts GroupAdd ReadonlyRootfs RestartPolicy ShmSize Tmpfs".split()
)
_NETWORKS: Final = frozenset(("", "default", "none", "bridge"))
_LOCAL_LOGS: Final = frozenset(("", "json-file", "local", "none"))
_DEFAULT: Final = docker.HostConfig()


def checked(scope: Scope, body: T) -> T:
    """Return the body of a request as this listener may make it; others than containers' are left alone.

    Raises:
        Forbidden: it asks for what reaches the host.
    """
    if scope.role != "run-only":
        return body
    if isinstance(body, docker.ExecCreate):
        if body.Privileged:
            raise _forbidden("Privileged")
    elif isinstance(body, docker.ContainerCreate):
        _check_create(scope, body)
        host = msgspec.structs.replace(body.HostConfig, Annotations={OWNER: scope.owner})
        return msgspec.structs.replace(body, HostConfig=host)
    return body


def _forbidden(field: str) -> Forbidden:
    return Forbidden(f"{field} is not allowed on a run-only socket", hint="see docs/access.md")


def _check_create(scope: Scope, body: docker.ContainerCreate) -> None:
    if body.MacAddress:
        raise _forbidden("MacAddress")
    if not _NETWORKS.issuperset(body.NetworkingConfig.EndpointsConfig):
        raise _forbidden("NetworkingConfig")
    for endpoint in body.NetworkingConfig.EndpointsConfig.values():
        if endpoint != docker.EndpointSettings():
            raise _forbidden("NetworkingConfig")
    for field in docker.HostConfig.__struct_fields__:
        value = getattr(body.HostConfig, field)
        if field in _FREE or value == getattr(_DEFAULT, field):
            continue
        check = _CHECKS.get(field)
        if check is None or not check(scope, value):
            raise _forbidden(f"HostConfig.{field}")


def _capabilities(_scope: Scope, value: object) -> bool:
    return isinstance(value, list) and all(
        f"CAP_{str(name).upper().removeprefix('CAP_')}" in CAPABILITIES for name in value
    )


def _security(_scope: Scope, value: object) -> bool:
    allowed = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")
    return isinstance(value, list) and all(text in allowed for text in value)


def _binds(scope: Scope, value: object) -> bool:
    return isinstance(value, list) and all(_is_allowed_bind(scope, str(text)) for text in value)


def _is_allowed_bind(scope: Scope, text: str) -> bool:
    source, _, rest = text.partition(":")
    _, _, options = rest.partition(":")
    wanted = set(options.split(",")) - {""}
    return wanted <= {"ro", "rw"} and _may_bind(scope, source, read_only="ro" in wanted)


def _may_bind(scope: Scope, source: str, *, read_only: bool) -> bool:
    """Compare whole paths: below an allowed directory its users could lay a link to anywhere."""
    return any(source == bind.path and (read_only or not bind.read_only) for bind in scope.binds)


def _mounts(scope: Scope, value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(mount, docker.Mount) and _is_allowed_mount(scope, mount) for mount in value
    )


def _is_allowed_mount(scope: Scope, mount: docker.Mount) -> bool:
    if mount.ImageOptions is not None:
        return False
    if mount.Type == "tmpfs":
        return not mount.Source
    if mount.Type == "volume":  # an anonymous one: a name could be another's, a driver's option any path
        return not mount.Source and mount.VolumeOptions in (None, docker.VolumeOptions())
    plain = mount.BindOptions in (None, docker.BindOptions())
    return mount.Type == "bind" and plain and _may_bind(scope, mount.Source, read_only=mount.ReadOnly)


_CHECKS: Final[dict[str, _Check]] = {
    "CapAdd": _capabilities,
    "SecurityOpt": _security,
    "Binds": _binds,
    "Mounts": _mounts,
    "NetworkMode": lambda _scope, value: value in _NETWORKS,
    "IpcMode": lambda _scope, value: value in ("private", "none"),
    "CgroupnsMode": lambda _scope, value: value == "private",
    "OomScoreAdj": lambda _scope, value: isinstance(value, int) and value >= 0,
    "OomKillDisable": lambda _scope, value: value is False,
    "LogConfig": lambda _scope, value: isinstance(value, docker.LogConfig) and value.Type in _LOCAL_LOGS,
    "Isolation": lambda _scope, value: value == "default",
}
