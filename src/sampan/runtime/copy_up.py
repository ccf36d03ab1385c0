"""Copy a directory of the image into a fresh tmpfs before it covers it (mount option `tmpcopyup`). Lean.

Source: OCI runtime-spec v1.2, config.md, "Linux mount options".
"""

from __future__ import annotations

import errno
import os
from _stat import S_IMODE, S_ISCHR, S_ISDIR, S_ISLNK, S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy all that is in one directory into another, with modes, owners, times and extended attributes.

    No link is followed. The mode and owner of the target directory itself become the source's.
    """
    source = os.open(".", _DIRECTORY, dir_fd=source_fd)
    try:
        target = os.open(".", _DIRECTORY, dir_fd=target_fd)
        try:
            _copy_directory(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_directory(source: int, target: int) -> None:
    for name in os.listdir(source):
        _copy_entry(name, source, target)
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, S_IMODE(status.st_mode))
    _copy_attributes(source, target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_entry(name: str, source: int, target: int) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    if S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        _with_both(name, source, target, _DIRECTORY, _DIRECTORY, _copy_directory)
    elif S_ISREG(status.st_mode):
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        _with_both(name, source, target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, new, _copy_file)
    elif S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    else:
        os.mknod(name, status.st_mode, status.st_rdev if S_ISCHR(status.st_mode) else 0, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _with_both(
    name: str,
    source: int,
    target: int,
    source_flags: int,
    target_flags: int,
    copy: Callable[[int, int], None],
) -> None:
    inner = os.open(name, source_flags, dir_fd=source)
    try:
        copied = os.open(name, target_flags, 0o600, dir_fd=target)
        try:
            copy(inner, copied)
        finally:
            os.close(copied)
    finally:
        os.close(inner)


def _copy_file(source: int, target: int) -> None:
    while os.sendfile(target, source, None, 1 << 24):
        pass
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, S_IMODE(status.st_mode))
    _copy_attributes(source, target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_attributes(source: int, target: int) -> None:
    try:
        names = os.listxattr(source)
        for name in names:
            os.setxattr(target, name, os.getxattr(source, name))
    except OSError as exc:
        # tmpfs has no user.* attributes before Linux 6.6; overlayfs' own are no part of the content
        if exc.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
