"""Masked and read-only paths, and sysctls. Lean.

Source: OCI runtime-spec v1.2, config-linux.md, "Masked Paths", "Readonly Paths", "Sysctl".
"""

from __future__ import annotations

import errno
import os
from _stat import S_ISCHR, S_ISDIR

from sampan.errors import InvalidArgument, SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, mounts, namespaces, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sampan.runtime.steps import Child

_ATTACH = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
_NULL = os.makedev(1, 3)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def check_null_device(fd: int) -> None:
    """Check that a descriptor is the null device: what masks a path must be nothing else (CVE-2025-31133).

    Raises:
        SampanError: it is another file.
    """
    status = os.fstat(fd)
    if not S_ISCHR(status.st_mode) or status.st_rdev != _NULL:
        raise SampanError("/dev/null is not the null device (character device 1:3)")


def mask_paths(child: Child, paths: tuple[str, ...], null_fd: int) -> None:
    """Cover each path: a file by the null device (null_fd, a detached mount), a directory by an empty tmpfs.

    The directories share one read-only tmpfs: superblocks cost. What is not there is skipped.
    """
    null = _Cover(null_fd)
    empty: _Cover | None = None
    for path in paths:
        target = _open_present(path)
        if target < 0:
            continue
        if S_ISDIR(os.fstat(target).st_mode):
            empty = empty or _Cover(_empty_directory())
            empty.lay_over(target)
        else:
            null.lay_over(target)
        os.close(target)


class _Cover:
    """A mount to be laid over several targets: itself over the first, copies of that over the others.

    The order matters: before Linux 6.15 only an attached mount can be copied.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._attached = False

    def lay_over(self, target: int) -> None:
        """Mount on what an O_PATH descriptor is."""
        if not self._attached:
            mounts.move_mount(self._fd, "", target, "", _ATTACH)
            self._attached = True
            return
        copy = mounts.open_tree(self._fd, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH)
        mounts.move_mount(copy, "", target, "", _ATTACH)
        os.close(copy)


def make_readonly(child: Child, paths: tuple[str, ...]) -> None:
    """Cover each path by a read-only view of itself and of what is mounted below; skip what is absent."""
    for path in paths:
        target = _open_present(path)
        if target < 0:
            continue
        try:
            view = mounts.open_tree(target, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
            try:
                mounts.mount_setattr(view, "", k.AT_EMPTY_PATH | k.AT_RECURSIVE, attr_set=k.MOUNT_ATTR_RDONLY)
                mounts.move_mount(view, "", target, "", _ATTACH)
            finally:
                os.close(view)
        finally:
            os.close(target)


def _open_present(path: str) -> int:
    """Open a path of the container (we are in its root) for mounting on it; -1 if it is not there."""
    try:
        return files.openat2(k.AT_FDCWD, path, os.O_PATH, resolve=k.RESOLVE_NO_MAGICLINKS)
    except OSError as exc:
        if exc.errno not in _ABSENT:
            raise
        return -1


def _empty_directory() -> int:
    context = mounts.fsopen("tmpfs")
    try:
        mounts.fsconfig_set(context, "source", "tmpfs")
        mounts.fsconfig_set(context, "mode", "0755")
        mounts.fsconfig_set(context, "nr_inodes", "1")
        mounts.fsconfig_set(context, "ro")
        mounts.fsconfig_create(context)
        return mounts.fsmount(
            context, k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
        )
    finally:
        os.close(context)


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
