"""Owner, mode, extended attributes and times of what an archive makes; nothing here follows a link.

The order matters: chown(2) clears setuid bits and capabilities, writing changes the time.
"""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Final

from sampan.errors import InvalidArgument
from sampan.kernel.files import fchmod_path
from sampan.kernel.namespaces import in_initial_user_namespace
from sampan.store.archive.headers import SYMLINK, Entry

OPAQUE_XATTR: Final = "trusted.overlay.opaque"
# In a user namespace nobody may write trusted.*: overlayfs reads this one there, with the option userxattr.
USER_OPAQUE_XATTR: Final = "user.overlay.opaque"
OPAQUE_XATTRS: Final = (OPAQUE_XATTR, USER_OPAQUE_XATTR)
OVERLAY_XATTRS: Final = ("trusted.overlay.", "user.overlay.")
# Would steer overlayfs (hide, redirect, show other files' data): only we write these.
_NEVER_TAKEN = tuple(os.fsencode(prefix) for prefix in OVERLAY_XATTRS)
# A file system, or a symlink or device for user.*, that has no such attribute: left out, as Docker does.
_NO_SUCH_KIND = frozenset({errno.ENOTSUP, errno.EPERM})


def set_by_descriptor(fd: int, entry: Entry) -> None:
    """Set everything of a regular file or directory that is open for reading or writing."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    if entry.xattrs:
        _set_xattrs(fd, entry.xattrs)
    os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


def set_by_name(directory_fd: int, name: bytes, entry: Entry) -> None:
    """Set everything of a symlink, device or FIFO, which cannot be opened."""
    os.chown(name, entry.uid, entry.gid, dir_fd=directory_fd, follow_symlinks=False)
    if entry.kind != SYMLINK:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            fchmod_path(fd, entry.mode)
        finally:
            os.close(fd)
    if entry.xattrs:
        _set_xattrs(f"/proc/self/fd/{directory_fd}/".encode() + name, entry.xattrs)
    times = (entry.mtime_ns, entry.mtime_ns)
    os.utime(name, ns=times, dir_fd=directory_fd, follow_symlinks=False)


def make_opaque(directory_fd: int) -> None:
    """Hide what the layers below have in a directory; directory_fd may be O_PATH."""
    os.setxattr(f"/proc/self/fd/{directory_fd}", _opaque_xattr(), b"y")


def is_opaque(fd: int) -> bool:
    """Tell whether a directory (fd may be O_PATH) hides what the layers below have in it."""
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", _opaque_xattr()) == b"y"
    except OSError:
        return False


@cache
def _opaque_xattr() -> str:
    return OPAQUE_XATTR if in_initial_user_namespace() else USER_OPAQUE_XATTR


def _set_xattrs(target: int | bytes, xattrs: dict[bytes, bytes]) -> None:
    for name, value in xattrs.items():
        if name.startswith(_NEVER_TAKEN):
            continue
        if not name or len(name) > 255:  # XATTR_NAME_MAX
            raise InvalidArgument(f"archive: name of an extended attribute has {len(name)} bytes")
        try:
            os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
        except OSError as exc:
            if exc.errno not in _NO_SUCH_KIND:
                raise
