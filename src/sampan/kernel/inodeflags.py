"""The flags of chattr(1) that forbid changes to a file. Lean (decision 0002).

Source: include/uapi/linux/fs.h.
"""

from __future__ import annotations

import fcntl
import struct

_FS_IOC_GETFLAGS = 0x80086601  # _IOR('f', 1, long); the value itself is an int
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE_FL = 0x10
_FS_APPEND_FL = 0x20
_FLAGS = struct.Struct("=i")


def allow_changes(fd: int) -> bool:
    """Clear the immutable and append-only flags of an open file or directory; False if it had neither.

    Raises:
        OSError: ENOTTY or ENOTSUP, the file system has no such flags; EPERM, CAP_LINUX_IMMUTABLE is missing.
    """
    raw = fcntl.ioctl(fd, _FS_IOC_GETFLAGS, _FLAGS.pack(0))
    (flags,) = _FLAGS.unpack_from(raw)
    if not flags & (_FS_IMMUTABLE_FL | _FS_APPEND_FL):
        return False
    fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _FLAGS.pack(flags & ~(_FS_IMMUTABLE_FL | _FS_APPEND_FL)))
    return True
