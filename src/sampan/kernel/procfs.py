"""A private view of /proc, for writes that must reach the kernel whatever a container did to its own /proc.

Labels, sysctls and the like are written by files below /proc. A container may put a link, a tmpfs or another
proc file there; a write that lands elsewhere is at best lost and at worst /proc/sysrq-trigger
(CVE-2019-16884, CVE-2025-52881). So the runtime opens a procfs of its own, attached nowhere, before it enters
the container's root, and each file is opened below that: no links out, no mounts in between, and what was
opened must lie on procfs.
"""

from __future__ import annotations

import errno
import os
from _stat import S_ISREG

from sampan.kernel.constants import (
    AT_FDCWD,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    OPEN_TREE_CLONE,
    PROC_ROOT_INO,
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
)
from sampan.kernel.files import file_system_type, openat2
from sampan.kernel.mountcalls import fsconfig_create, fsmount, fsopen, open_tree
from sampan.kernel.syscall import fail

_ATTRIBUTES = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV


def open_private_proc() -> int:
    """Return the root of a procfs for the caller's pid namespace that no path leads to.

    A new one by fsopen; where that is not allowed (a user namespace whose /proc is partly covered) or
    not there, a detached copy of the mount at /proc; last, /proc itself, which `open_proc_file` guards by
    refusing to cross mounts. The last two are checked to be the root of a procfs.

    Raises:
        OSError: EPERM, what lies at /proc is not the root of a procfs.
    """
    try:
        return _new_proc()
    except OSError as exc:
        if exc.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            raise
    try:
        fd = open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE)
    except OSError as exc:
        if exc.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            raise
        fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_proc_root(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _new_proc() -> int:
    context = fsopen("proc")
    try:
        fsconfig_create(context)
        return fsmount(context, _ATTRIBUTES)
    finally:
        os.close(context)


def check_proc_root(fd: int) -> None:
    """Check that a descriptor is the root directory of a procfs.

    Raises:
        OSError: EPERM, it is something else.
    """
    if file_system_type(fd) != PROC_SUPER_MAGIC or os.fstat(fd).st_ino != PROC_ROOT_INO:
        raise fail(errno.EPERM, "not the root of a procfs", "/proc")


def open_proc_file(proc_fd: int, path: str, flags: int) -> int:
    """Open a file below a private procfs, such as "sys/net/ipv4/ip_forward" or "thread-self/attr/exec".

    Raises:
        OSError: ENOENT, there is no such file; EXDEV, something is mounted over it; EPERM, it is no regular
            file of procfs.
    """
    fd = openat2(proc_fd, path, flags, resolve=_RESOLVE)
    if file_system_type(fd) == PROC_SUPER_MAGIC and S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise fail(errno.EPERM, "not a file of procfs", path)


def read_proc_file(proc_fd: int, path: str) -> bytes:
    """Return the content of a small file below a private procfs."""
    fd = open_proc_file(proc_fd, path, os.O_RDONLY)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def write_proc_file(proc_fd: int, path: str, value: bytes) -> None:
    """Write to a file below a private procfs, in one write.

    Raises:
        OSError: errno and filename are set; EINVAL, the kernel refuses the value.
    """
    fd = open_proc_file(proc_fd, path, os.O_WRONLY)
    try:
        os.write(fd, value)
    except OSError as exc:
        raise OSError(exc.errno, f"write {value[:64]!r}: {exc.strerror}", f"/proc/{path}") from exc
    finally:
        os.close(fd)


def write_sysctl(proc_fd: int, name: str, value: str) -> None:
    """Set a sysctl named with dots or slashes ("net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/forwarding").

    As sysctl(8) does, the first separator that appears decides which of the two the name uses.

    Raises:
        OSError: ENOENT, no such sysctl; EINVAL, the kernel refuses the value; EACCES, it is read-only here.
    """
    write_proc_file(proc_fd, f"sys/{sysctl_path(name)}", value.encode())


def sysctl_path(name: str) -> str:
    """Return the path of a sysctl below /proc/sys.

    Raises:
        OSError: EINVAL, the name has an empty, "." or ".." part.
    """
    dot, slash = name.find("."), name.find("/")
    path = name if 0 <= slash < dot or dot < 0 else name.translate({ord("."): "/", ord("/"): "."})
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise fail(errno.EINVAL, "sysctl name", name)
    return path
