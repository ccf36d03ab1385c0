"""Sysctls: which a container may set, and setting them. Lean.

Source: OCI runtime-spec v1.2, config-linux.md, "Sysctl".
"""

from __future__ import annotations

import os

from sampan.errors import InvalidArgument, SampanError
from sampan.kernel import namespaces, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sampan.runtime.steps import Child

# Sysctls that belong to a namespace, and to which. Source: namespaces(7); runc, validator.go.
_IPC_SYSCTLS = frozenset(
    (
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    )
)


def check_sysctls(sysctls: Mapping[str, str], paths: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Check that each sysctl belongs to a namespace that the container does not share with us.

    paths: the container's namespaces, by their type in config.json, "" for a new one.

    Raises:
        InvalidArgument: it is the host's, or its name or value is no name or value (CVE-2022-0811).
    """
    for name, value in sysctls.items():
        where = f"linux.sysctl.{name}"
        try:
            path = procfs.sysctl_path(name)
        except OSError as exc:
            raise InvalidArgument(f"{where}: is not the name of a sysctl") from exc
        if not path.isascii() or not path.isprintable() or "\n" in value or "+" in name:
            raise InvalidArgument(f"{where}: name or value has a character that no sysctl has")
        kind = _namespace_of(path)
        if kind is None:
            raise InvalidArgument(
                f"{where}: belongs to no namespace, so a container cannot set it",
                hint="set it on the host with sysctl(8)",
            )
        if kind not in paths or (paths[kind] and _is_ours(paths[kind], kind)):
            raise InvalidArgument(f"{where}: the container shares the host's {kind} namespace")
    return tuple(sysctls.items())


def _namespace_of(path: str) -> str | None:
    if path.startswith("net/"):
        return "network"
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        return "ipc"
    if path == "kernel/domainname":
        return "uts"
    return None


def _is_ours(path: str, kind: str) -> bool:
    """Tell whether a namespace's path leads to the one we are in."""
    short = {"network": "net"}.get(kind, kind)
    try:
        theirs = os.stat(path)
    except OSError:
        return False  # joining it will say why
    return theirs.st_ino == namespaces.namespace_id("self", short)


def open_private_proc(child: Child) -> None:
    """Open the procfs that `set_sysctls` writes to, while nothing of the container is reachable yet."""
    child.proc_fd = procfs.open_private_proc()


def set_sysctls(child: Child, sysctls: tuple[tuple[str, str], ...]) -> None:
    """Write sysctls through the private procfs."""
    for name, value in sysctls:
        try:
            procfs.write_sysctl(child.proc_fd, name, value)
        except OSError as exc:
            raise SampanError(f"linux.sysctl.{name}: cannot be set to {value!r}: {exc.strerror}") from exc
