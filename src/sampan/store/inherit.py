"""Attributes of directories that a layer has but its archive does not describe: those of the layer below."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Sequence

from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from sampan.kernel.files import openat2
from sampan.store.archive.attributes import OVERLAY_XATTRS

_STAY = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def inherit_attributes(directory: str, unnamed: Collection[bytes], below: Sequence[str]) -> None:
    """Copy owner, mode, attributes and time of each unnamed directory from the first layer below that has it.

    below is ordered from the next layer downwards. What is in no layer stays as it was made.
    """
    for path in sorted(unnamed, key=len, reverse=True):  # children first: nothing changes a time afterwards
        fd = _open_directory(directory, path)
        if fd < 0:
            continue  # an entry replaced it
        try:
            for lower in below:
                source_fd = _open_directory(lower, path)
                if source_fd >= 0:
                    try:
                        copy_attributes(source_fd, fd)
                    finally:
                        os.close(source_fd)
                    break
        finally:
            os.close(fd)


def copy_attributes(source_fd: int, target_fd: int) -> None:
    """Give an open directory the owner, mode, attributes and times of another, without overlayfs's own."""
    status = os.fstat(source_fd)
    os.fchown(target_fd, status.st_uid, status.st_gid)
    os.fchmod(target_fd, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source_fd):
        if not name.startswith(OVERLAY_XATTRS):
            os.setxattr(target_fd, name, os.getxattr(source_fd, name))
    os.utime(target_fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def _open_directory(root: str, path: bytes) -> int:
    """Return a descriptor of a directory inside a layer, -1 if there is none."""
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(root_fd, path or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=_STAY)
    except OSError as exc:
        if exc.errno not in _ABSENT:
            raise
        return -1
    finally:
        os.close(root_fd)
