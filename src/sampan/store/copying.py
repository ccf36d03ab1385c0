"""Copy a tree: content, owners, modes, attributes, times.

Where the file system can, files share their blocks. For what an image has at a place where an empty volume is
mounted, and for whole roots (`plain_roots`).
Source and target are descriptors of directories; below them every step opens one name and follows no link, so
nothing in an image can lead anywhere else. Hard links within the tree stay links.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from sampan.errors import SampanError
from sampan.kernel.reflinks import share_blocks

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 26
_MAX_DEPTH: Final = 200  # two descriptors a level
_MAX_LINKS: Final = 300
_OWN_TO_OVERLAY: Final = ("trusted.overlay.", "user.overlay.")

Link = tuple[int, int]  # device and inode


def copy_directory(source_fd: int, target_fd: int) -> None:
    """Copy everything in one directory into another, which gets the first one's own attributes too.

    Raises:
        SampanError: it is nested too deep. OSError: as the file system says, ENOSPC above all.
    """
    TreeCopier().copy(source_fd, target_fd)


class TreeCopier:
    """Copies one tree; a subclass may give directories and names a meaning (`enter`, `copy_entry`)."""

    def __init__(self) -> None:
        self._links: dict[Link, int] = {}  # to an O_PATH descriptor of the first copy; the last few hundred

    def copy(self, source: int, target: int) -> None:
        """Copy a directory's content and attributes into another, both open."""
        try:
            self._copy(source, target, depth=0)
        finally:
            for fd in self._links.values():
                os.close(fd)
            self._links.clear()

    def enter(self, name: str, source: int, target: int) -> None:
        """Make a directory like source's name in target."""
        os.mkdir(name, 0o700, dir_fd=target)

    def _copy(self, source: int, target: int, *, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise SampanError(f"cannot copy a tree: directories are nested over {_MAX_DEPTH} deep")
        with os.scandir(source) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            self.copy_entry(name, source, target, depth=depth)
        copy_attributes(source, target)

    def copy_entry(self, name: str, source: int, target: int, *, depth: int) -> None:
        """Copy one name, a directory with everything in it."""
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self.enter(name, source, target)
            with Opened(name, source, _DIRECTORY) as old, Opened(name, target, _DIRECTORY) as new:
                self._copy(old, new, depth=depth + 1)
        elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in self._links:
            first = self._links[status.st_dev, status.st_ino]
            os.link(f"/proc/self/fd/{first}", name, dst_dir_fd=target, follow_symlinks=True)
        elif stat.S_ISREG(status.st_mode):
            with Opened(name, source, _OLD_FILE) as old, Opened(name, target, _NEW_FILE) as new:
                copy_content(old, new, status.st_size)
                copy_attributes(old, new)
            self._remember(name, status, target)
        else:
            _copy_special(name, status, source, target)
            self._remember(name, status, target)

    def _remember(self, name: str, status: os.stat_result, target: int) -> None:
        if status.st_nlink > 1 and not stat.S_ISLNK(status.st_mode):
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
            self._links[status.st_dev, status.st_ino] = fd
            if len(self._links) > _MAX_LINKS:
                os.close(self._links.pop(next(iter(self._links))))


class Opened:
    """One name of a directory, or a path, open for the time of a block; usually a directory itself."""

    def __init__(self, name: str | bytes, directory: int | None = None, flags: int = _DIRECTORY) -> None:
        self._fd = os.open(name, flags, 0o600, dir_fd=directory)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def copy_content(source: int, target: int, size: int) -> None:
    """Copy a regular file's bytes; holes stay holes."""
    if share_blocks(source, target):
        return
    at = 0
    while at < size:
        try:
            begin = os.lseek(source, at, os.SEEK_DATA)
            end = os.lseek(source, begin, os.SEEK_HOLE)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            break  # only a hole is left
        os.lseek(source, begin, os.SEEK_SET)
        os.lseek(target, begin, os.SEEK_SET)
        left = end - begin
        while left > 0 and (count := os.sendfile(target, source, None, min(left, _PIECE))):
            left -= count
        at = end
    os.ftruncate(target, size)


def _copy_special(name: str, status: os.stat_result, source: int, target: int) -> None:
    """Make a symbolic link, a device, a FIFO or a (dead) socket like the one in source."""
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        os.mknod(name, status.st_mode, status.st_rdev if is_device else 0, dir_fd=target)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        with Opened(name, target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC) as fd:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(status.st_mode))
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def copy_attributes(source: int, target: int) -> None:
    """Give an open file or directory the owner, mode, extended attributes and times of another."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name.startswith(_OWN_TO_OVERLAY):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as exc:
            if exc.errno != errno.ENOTSUP:  # a volume on tmpfs or nfs may have none of this kind
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
