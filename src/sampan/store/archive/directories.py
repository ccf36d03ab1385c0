"""The directories of a tree that is being unpacked: found without leaving the root, made when missing.

A small cache of descriptors spares most look-ups. It is emptied whenever a directory or a symlink is
replaced, because any cached path may have led through it.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final, cast

from sampan.errors import InvalidArgument
from sampan.kernel.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from sampan.kernel.files import openat2
from sampan.store.archive.attributes import make_opaque

_CACHED: Final = 128  # descriptors for each layer being unpacked
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC


class Directories:
    """Directories below root_fd by cleaned path; b"" is the root. Use it in a `with`; root_fd stays open."""

    def __init__(self, root_fd: int, *, unnamed_limit: int) -> None:
        self._root_fd = root_fd
        self._open: dict[bytes, int] = {}
        self._unnamed_limit = unnamed_limit
        self.unnamed: set[bytes] = {b""}  # made or used, but not (yet) described by the archive

    def __enter__(self) -> Directories:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()

    def forget(self) -> None:
        """Close the cached descriptors: a path may lead elsewhere from now on."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def find(self, path: bytes) -> int:
        """Return a descriptor of an existing directory: valid until `forget`, or 100 more look-ups.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP: there is no such directory.
        """
        if not path:
            return self._root_fd
        fd = self._open.pop(path, -1)
        if fd < 0:
            fd = openat2(self._root_fd, path, os.O_PATH | _DIRECTORY, resolve=_INSIDE)
            self._make_room()
        self._open[path] = fd  # the last place is for the latest: it is closed last
        return fd

    def find_or_make(self, path: bytes) -> int:
        """Return a descriptor as `find`; what is missing is made, its attributes are open (`unnamed`)."""
        missing: list[bytes] = []
        while (fd := self._find_or_none(path)) is None:
            path, _, name = path.rpartition(b"/")
            missing.append(name)
        for name in reversed(missing):
            path = path + b"/" + name if path else name
            fd = self._make_unnamed(path, fd, name)
        return fd

    def _find_or_none(self, path: bytes) -> int | None:
        try:
            return self.find(path)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            return None

    def keep(self, path: bytes, fd: int) -> None:
        """Take over a descriptor of the directory at path into the cache."""
        previous = self._open.pop(path, -1)
        if previous >= 0:
            os.close(previous)
        self._make_room()
        self._open[path] = fd

    def _make_room(self) -> None:
        if len(self._open) >= _CACHED:
            os.close(self._open.pop(next(iter(self._open))))

    def _make_unnamed(self, path: bytes, parent_fd: int, name: bytes) -> int:
        was_whiteout = False
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            if not is_whiteout(os.stat(name, dir_fd=parent_fd, follow_symlinks=False)):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", path) from None
            os.unlink(name, dir_fd=parent_fd)
            os.mkdir(name, 0o755, dir_fd=parent_fd)
            was_whiteout = True
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | _DIRECTORY, dir_fd=parent_fd)
        self.keep(path, fd)
        os.fchmod(fd, 0o755)  # whatever the umask
        if was_whiteout:
            make_opaque(fd)
        if len(self.unnamed) >= self._unnamed_limit:
            raise InvalidArgument(f"archive: more than {self._unnamed_limit} directories without an entry")
        self.unnamed.add(path)
        return fd


class DirectoryTimes:
    """Modification times to be set once nothing is made in the directories any more; spooled to a file.

    Use it in a `with`. A million directories must not take memory.
    """

    _MEMORY_BYTES = 1 << 20
    _NUMBER_BYTES = 16

    def __init__(self, spool_directory: str | None) -> None:
        # It is closed by __exit__; a `with` here would close it at once.
        spool = tempfile.SpooledTemporaryFile(self._MEMORY_BYTES, dir=spool_directory)
        self._spool = cast(BinaryIO, spool)

    def __enter__(self) -> DirectoryTimes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def add(self, path: bytes, mtime_ns: int) -> None:
        """Note the time of the directory at a cleaned path; the last one counts."""
        number = mtime_ns.to_bytes(self._NUMBER_BYTES, "big", signed=True)
        self._spool.write(len(path).to_bytes(2, "big") + number + path)

    def apply(self, root_fd: int) -> None:
        """Set all times; directories that are gone again are passed over."""
        for path, mtime_ns in self._read():
            try:
                fd = openat2(root_fd, path or b".", os.O_RDONLY | _DIRECTORY, resolve=_INSIDE)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _read(self) -> Iterator[tuple[bytes, int]]:
        self._spool.seek(0)
        while head := self._spool.read(2 + self._NUMBER_BYTES):
            yield (
                self._spool.read(int.from_bytes(head[:2], "big")),
                int.from_bytes(head[2:], "big", signed=True),
            )


def is_whiteout(status: os.stat_result) -> bool:
    """Tell overlayfs's mark for a deleted name: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
