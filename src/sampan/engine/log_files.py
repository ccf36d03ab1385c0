"""The raw lines of a json-file log, across rotation: from the start, from the last n, and on as they come.

`path` is being written; `path.1` is the one before it, up to the highest number. A rotation renames them
all one up and begins a new `path`. The reader keeps the file it reads open, so it knows by inode which
number it has now, and goes on with the one below when it has read it to its end.
"""

from __future__ import annotations

import os
from typing import Final

_BLOCK: Final = 64 * 1024
_MAX_RECORD: Final = 1 << 20  # a record is at most 16 KiB of text, six times that when escaped, and a little


class LogFiles:
    """Reads whole records, oldest first. Not thread-safe; close it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""

    def close(self) -> None:
        """Close the file being read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def seek_start(self, *, newer_than_s: float = 0.0) -> None:
        """Go to the oldest record; files last written before newer_than_s (Unix time) are left out."""
        for name in reversed(self._names()):
            if os.stat(name).st_mtime >= newer_than_s or name == self._path:
                self._open(name)
                return

    def seek_tail(self, count: int) -> None:
        """Go to the last count records, reading no more than they take."""
        for name in self._names():
            self._open(name)
            offset, missing = _find_tail(self._fd, count)
            os.lseek(self._fd, offset, os.SEEK_SET)
            if not missing:
                return
            count = missing

    def read_records(self) -> list[bytes]:
        """Return the next records without their newline; an empty list when there is no more for now."""
        while True:
            if self._fd < 0 and not self._open_next():
                return []
            block = os.read(self._fd, _BLOCK)
            if block:
                records = self._split(block)
                if records:
                    return records
            elif not self._open_next():
                return []

    def _split(self, block: bytes) -> list[bytes]:
        *records, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > _MAX_RECORD:
            self._rest = b""  # no record of ours: a damaged file must not fill the memory
        return records

    def _open_next(self) -> bool:
        """Move to the file written after the one at hand; False when that one is the newest."""
        names = self._names()
        if not names:
            return False
        if self._fd < 0:
            return self._open(names[0])
        own = os.fstat(self._fd)
        for position, name in enumerate(names):
            if _is_same(name, own):
                return position > 0 and self._finish_and_open(names[position - 1])
        return self._open(names[-1])  # ours was rotated away: go on with the oldest there is

    def _finish_and_open(self, name: str) -> bool:
        """Open the next file unless ours got more records between our last read and its renaming."""
        if os.lseek(self._fd, 0, os.SEEK_CUR) < os.fstat(self._fd).st_size:
            return True
        return self._open(name)

    def _open(self, name: str) -> bool:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.close()
        self._fd, self._rest = fd, b""
        return True

    def _names(self) -> list[str]:
        """Return the files there are, newest first."""
        names = [self._path] if os.path.exists(self._path) else []
        number = 1
        while os.path.exists(name := f"{self._path}.{number}"):
            names.append(name)
            number += 1
        return names


def _is_same(name: str, status: os.stat_result) -> bool:
    try:
        found = os.stat(name)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _find_tail(fd: int, count: int) -> tuple[int, int]:
    """Return where the last count records begin, and how many are missing in this file."""
    end = position = os.fstat(fd).st_size
    if count <= 0:
        return end, 0
    found = 0
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(fd, position - start, start)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            if start + at == end - 1:
                continue  # the newline that ends the last record begins no other
            found += 1
            if found == count:
                return start + at + 1, 0
        position = start
    return 0, count - found - (1 if end else 0)
