"""Masked and read-only paths. Lean.

Source: OCI runtime-spec v1.2, config-linux.md, "Masked Paths", "Readonly Paths".
"""

from __future__ import annotations

import errno
import os
from _stat import S_ISCHR, S_ISDIR

from sampan.errors import SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, mountattrs, mountcalls

TYPE_CHECKING = False
if TYPE_CHECKING:
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
            mountcalls.move_mount(self._fd, "", target, "", _ATTACH)
            self._attached = True
            return
        copy = mountcalls.open_tree(self._fd, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH)
        mountcalls.move_mount(copy, "", target, "", _ATTACH)
        os.close(copy)


def make_readonly(child: Child, paths: tuple[str, ...]) -> None:
    """Cover each path by a read-only view of itself and of what is mounted below; skip what is absent."""
    for path in paths:
        target = _open_present(path)
        if target < 0:
            continue
        try:
            view = mountcalls.open_tree(target, "", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
            try:
                mountattrs.mount_setattr(
                    view, "", k.AT_EMPTY_PATH | k.AT_RECURSIVE, attr_set=k.MOUNT_ATTR_RDONLY
                )
                mountcalls.move_mount(view, "", target, "", _ATTACH)
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
    context = mountcalls.fsopen("tmpfs")
    try:
        mountcalls.fsconfig_set(context, "source", "tmpfs")
        mountcalls.fsconfig_set(context, "mode", "0755")
        mountcalls.fsconfig_set(context, "nr_inodes", "1")
        mountcalls.fsconfig_set(context, "ro")
        mountcalls.fsconfig_create(context)
        return mountcalls.fsmount(
            context, k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
        )
    finally:
        os.close(context)
