"""Namespaces: which are the container's own, which the host's, which another container's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from sampan.engine.bundle.plan import BundlePlan, Document
from sampan.errors import InvalidArgument
from sampan.spec import docker

Share = Literal["own", "host", "container"]
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")  # of networks, as Docker has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """One namespace mode: whose it is; container: the reference of another container, as written."""

    share: Share
    container: str = ""


def parse_network_mode(mode: str) -> Sharing:
    """Read HostConfig.NetworkMode: "", default, none, host, container:NAME, a network.

    Raises:
        InvalidArgument: it can be none of them.
    """
    if mode in ("", "default", "none", "private"):
        return Sharing(share="own")
    if mode == "host":
        return Sharing(share="host")
    if mode.startswith("container:"):
        return _parse_container(mode, field="NetworkMode")
    if not is_network_name(mode):
        raise InvalidArgument(f"invalid NetworkMode {mode!r}: write none, host, container:NAME or a network")
    return Sharing(share="own")


def is_network_name(mode: str) -> bool:
    """Tell whether a NetworkMode means a network by its name or id."""
    return mode not in ("", "default", "none", "private", "host") and _NAME.fullmatch(mode) is not None


def parse_pid_mode(mode: str) -> Sharing:
    """Read HostConfig.PidMode: "", private, host, container:NAME.

    Raises:
        InvalidArgument: another mode.
    """
    if mode in ("", "private"):
        return Sharing(share="own")
    if mode == "host":
        return Sharing(share="host")
    if mode.startswith("container:"):
        return _parse_container(mode, field="PidMode")
    raise InvalidArgument(f"invalid PID mode: {mode}")


def parse_ipc_mode(mode: str) -> Sharing:
    """Read HostConfig.IpcMode: "", private, shareable, none, host, container:NAME.

    none is one's own as well, without /dev/shm.

    Raises:
        InvalidArgument: another mode.
    """
    if mode in ("", "private", "shareable", "none"):
        return Sharing(share="own")
    if mode == "host":
        return Sharing(share="host")
    if mode.startswith("container:"):
        return _parse_container(mode, field="IpcMode")
    raise InvalidArgument(f"invalid IPC mode: {mode}")


def parse_host_flag(mode: str, *, field: str) -> bool:
    """Read UTSMode: "" or host; return whether the host's namespace is used.

    Raises:
        InvalidArgument: another mode.
    """
    if mode not in ("", "private", "host"):
        raise InvalidArgument(f"invalid {field}: {mode}")
    return mode == "host"


def parse_cgroupns_mode(host: docker.HostConfig, *, cgroup_version: int) -> bool:
    """Return whether the container gets a cgroup namespace of its own: on v2 by default, on v1 not.

    On v1 programs read their own id from /proc/self/cgroup, so Docker shows it; privileged containers
    share the host's on v1 only.

    Raises:
        InvalidArgument: another mode.
    """
    match host.CgroupnsMode:
        case "":
            return cgroup_version == 2 and not host.Privileged
        case "private" | "host" as mode:
            return mode == "private"
    raise InvalidArgument(f"invalid cgroup namespace mode: {host.CgroupnsMode}")


def make_namespaces(plan: BundlePlan) -> list[Document]:
    """Return `linux.namespaces` of config.json."""
    host = plan.host
    result: list[Document] = [{"type": "mount"}]
    if plan.joins.network is not None:
        result.append({"type": "network", "path": plan.joins.network})
    elif parse_network_mode(host.NetworkMode).share == "own":
        result.append({"type": "network"})
    if plan.joins.pid is not None:
        result.append({"type": "pid", "path": plan.joins.pid})
    elif parse_pid_mode(host.PidMode).share == "own":
        result.append({"type": "pid"})
    if not parse_host_flag(host.UTSMode, field="UTS mode"):
        result.append({"type": "uts"})
    if plan.joins.ipc is not None:
        result.append({"type": "ipc", "path": plan.joins.ipc})
    elif parse_ipc_mode(host.IpcMode).share == "own":
        result.append({"type": "ipc"})
    if parse_cgroupns_mode(host, cgroup_version=plan.machine.cgroup_version):
        result.append({"type": "cgroup"})
    return result


def _parse_container(mode: str, *, field: str) -> Sharing:
    name = mode.removeprefix("container:")
    if not name:
        raise InvalidArgument(f"invalid {field} {mode!r}: write container:NAME")
    return Sharing(share="container", container=name)
