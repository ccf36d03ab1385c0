"""Project quotas: how many bytes a directory may hold with all below it, on ext4 and xfs. Lean.

Source: include/uapi/linux/fs.h (struct fsxattr), include/uapi/linux/quota.h; quotactl_fd(2), Linux 5.14.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence

from sampan.kernel.syscall import POINTER, WORD, Call, buffer

_FS_IOC_FSGETXATTR = 0x801C581F  # _IOR('X', 31, struct fsxattr)
_FS_IOC_FSSETXATTR = 0x401C5820
_FS_XFLAG_PROJINHERIT = 0x200
_FSXATTR = struct.Struct("=5I8x")  # flags, extent size, extents, project, cow extent size
_Q_GETQUOTA = 0x800007 << 8 | 2  # QCMD(cmd, PRJQUOTA)
_Q_SETQUOTA = 0x800008 << 8 | 2
_QIF_BLIMITS = 1
_DQBLK = struct.Struct("=8QI4x")  # struct if_dqblk; limits in blocks of 1024 bytes
_BLOCK = 1024

_quotactl_fd = Call("quotactl_fd", WORD, WORD, WORD, POINTER)


def set_project_quota(path: str, size_bytes: int, *, also: Sequence[str] = ()) -> None:
    """Make an empty directory a project that may hold so many bytes; its inode numbers the project.

    also: other empty directories of the project. Names can be moved within one only (rename(2), EXDEV).

    Raises:
        OSError: ESRCH, ENOSYS, ENOTTY or ENOTSUP: the file system keeps no project quotas.
    """
    fd = _open(path)
    try:
        project = os.fstat(fd).st_ino & 0xFFFFFFFF
        _check_quotas_on(fd, project)
        _join(fd, project)
        for other in also:
            other_fd = _open(other)
            try:
                _join(other_fd, project)
            finally:
                os.close(other_fd)
        blocks = -(-size_bytes // _BLOCK)
        limits = _DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS)
        _quotactl_fd(fd, _Q_SETQUOTA, project, limits, path=path)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _join(fd: int, project: int) -> None:
    """Put a directory, and what will be made in it, into a project."""
    flags, extent, extents, _, cow = _FSXATTR.unpack(
        fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    )
    changed = _FSXATTR.pack(flags | _FS_XFLAG_PROJINHERIT, extent, extents, project, cow)
    fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, changed)


def _check_quotas_on(fd: int, project: int) -> None:
    _quotactl_fd(fd, _Q_GETQUOTA, project, buffer(_DQBLK.size), path=f"fd {fd}")
