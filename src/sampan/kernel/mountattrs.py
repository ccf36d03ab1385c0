"""Changing attributes of mounts, of one or of a whole tree: mount_setattr(2), Linux 5.12."""

from __future__ import annotations

import errno
import os
import struct

from sampan.kernel.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_STRICTATIME,
)
from sampan.kernel.mountcalls import mount
from sampan.kernel.mountinfo import MountInfo, read_mountinfo
from sampan.kernel.syscall import POINTER, WORD, Call, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.kernel.syscall import StrPath

_mount_setattr = Call("mount_setattr", WORD, POINTER, WORD, POINTER, WORD)
_MOUNT_ATTR = struct.Struct("=QQQQ")  # struct mount_attr: attr_set, attr_clr, propagation, userns_fd

_MS_OF_ATTR = (
    (MOUNT_ATTR_RDONLY, MS_RDONLY),
    (MOUNT_ATTR_NOSUID, MS_NOSUID),
    (MOUNT_ATTR_NODEV, MS_NODEV),
    (MOUNT_ATTR_NOEXEC, MS_NOEXEC),
    (MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
    (MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
)
_MS_OF_OPTION = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
    "nosymfollow": MS_NOSYMFOLLOW,
}
_MS_ATIME = MS_NOATIME | MS_RELATIME | MS_STRICTATIME


def mount_setattr(
    dirfd: int,
    path: StrPath = "",
    flags: int = AT_EMPTY_PATH,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = -1,
) -> None:
    """Set and clear `MOUNT_ATTR_*` of the mount at path, with AT_RECURSIVE of all mounts below it too.

    propagation is one of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, or 0. A userns_fd makes the
    (detached) mount an idmapped one. To change how atime is kept, attr_clr must hold MOUNT_ATTR__ATIME.

    On a kernel without the call each mount is remounted in turn (attached mounts only, and not atomically);
    idmapped mounts do not exist there: ENOSYS.

    Raises:
        OSError: errno and filename are set.
    """
    if userns_fd >= 0:
        attr_set |= MOUNT_ATTR_IDMAP
    attributes = _MOUNT_ATTR.pack(attr_set, attr_clr, propagation, max(userns_fd, 0))
    name = path or f"/proc/self/fd/{dirfd}"
    try:
        _mount_setattr(dirfd, encode(path), flags, attributes, len(attributes), path=name)
    except OSError as exc:
        if exc.errno != errno.ENOSYS or userns_fd >= 0:
            raise
        _remount_each(dirfd, path, flags & AT_RECURSIVE, attr_set, attr_clr, propagation)


def _remount_each(
    dirfd: int, path: StrPath, recursive: int, attr_set: int, attr_clr: int, propagation: int
) -> None:
    handle = (
        os.open(path or ".", os.O_PATH | os.O_CLOEXEC, dir_fd=None if dirfd == AT_FDCWD else dirfd)
        if path
        else dirfd
    )
    try:
        targets = _tree_of(handle) if recursive else _tree_of(handle)[:1]
        for info in targets:
            mount(None, info.mount_point, None, MS_REMOUNT | MS_BIND | _changed(info, attr_set, attr_clr))
        if propagation:
            mount(None, f"/proc/self/fd/{handle}", None, propagation | (MS_REC if recursive else 0))
    finally:
        if handle != dirfd:
            os.close(handle)


def mount_id(fd: int) -> int:
    """Return the id (as in mountinfo) of the mount that a descriptor lies on."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    raise OSError(errno.ENOSYS, "fdinfo has no mnt_id", f"/proc/self/fdinfo/{fd}")


def _tree_of(fd: int) -> list[MountInfo]:
    """Return the mount fd lies on and all mounts below it, parents first."""
    wanted = {mount_id(fd)}
    every = read_mountinfo()
    found = [info for info in every if info.mount_id in wanted]
    if not found:
        raise OSError(
            errno.EINVAL, "mount_setattr is missing in this kernel, and the mount is detached", f"fd {fd}"
        )
    grown = True
    while grown:
        more = [info for info in every if info.parent_id in wanted and info.mount_id not in wanted]
        found += more
        wanted.update(info.mount_id for info in more)
        grown = bool(more)
    return found


def _changed(info: MountInfo, attr_set: int, attr_clr: int) -> int:
    """Return the `MS_*` flags a mount shall have: a bind remount replaces all of them at once."""
    flags = 0
    for option in info.options:
        flags |= _MS_OF_OPTION.get(option, 0)
    if not flags & _MS_ATIME:
        flags |= MS_STRICTATIME  # mountinfo says nothing for it, and no flag would mean relatime
    for attribute, ms_flag in _MS_OF_ATTR:
        if attr_clr & attribute:
            flags &= ~ms_flag
        if attr_set & attribute:
            flags |= ms_flag
    if attr_clr & MOUNT_ATTR__ATIME:
        flags &= ~_MS_ATIME
        kind = attr_set & MOUNT_ATTR__ATIME
        flags |= {MOUNT_ATTR_NOATIME: MS_NOATIME, MOUNT_ATTR_STRICTATIME: MS_STRICTATIME}.get(
            kind, MS_RELATIME
        )
    return flags
