"""Kernel parameters: only those that belong to a namespace the container has for itself."""

from __future__ import annotations

import re
from typing import Final

from sampan.engine.bundle import posture
from sampan.engine.bundle.namespaces import parse_host_flag, parse_ipc_mode, parse_network_mode
from sampan.errors import InvalidArgument
from sampan.spec import docker

_NAME: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.:/-]*")
_IPC: Final = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def choose_sysctls(host: docker.HostConfig) -> dict[str, str]:
    """Return the client's parameters over the defaults; defaults only with a network of the container's own.

    Raises:
        InvalidArgument: a parameter of the whole machine, or of a namespace shared with the host; a value
            that is more than one line (CVE-2022-0811).
    """
    own_network = parse_network_mode(host.NetworkMode).share == "own"
    result = dict(posture.SYSCTLS) if own_network else {}
    for name, value in host.Sysctls.items():
        _check_sysctl(name, value, host)
        result[name.replace("/", ".") if "." not in name else name] = value
    return result


def _check_sysctl(name: str, value: str, host: docker.HostConfig) -> None:
    if not _NAME.fullmatch(name) or ".." in name or "//" in name:
        raise InvalidArgument(f"invalid sysctl name {name!r}")
    if "\n" in value or "\0" in value:
        raise InvalidArgument(f"invalid value of sysctl {name!r}: line ends are not allowed")
    dotted = name.replace("/", ".")
    if dotted.startswith("net."):
        if parse_network_mode(host.NetworkMode).share == "host":
            raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
    elif dotted in _IPC or dotted.startswith("fs.mqueue."):
        if parse_ipc_mode(host.IpcMode).share == "host":
            raise InvalidArgument(f"sysctl '{name}' not allowed in host ipc namespace")
    elif dotted == "kernel.domainname":
        if parse_host_flag(host.UTSMode, field="UTS mode"):
            raise InvalidArgument(f"sysctl '{name}' not allowed in host UTS namespace")
    else:
        raise InvalidArgument(
            f"sysctl '{name}' is not allowed", hint="it would change the whole machine, not the container"
        )
