"""A json-file log, across rotation: from the start or a time, from the last n, and on as it grows.

`path` is being written; `path.1` is the one before it, up to the highest number. A rotation renames them
all one up and begins a new `path`; older ones may be compressed, `path.1.gz`. The reader keeps the file it
reads open, so that its inode can be no other's and tells which number it has now; a compressed file remembers
inode and last change of the plain one. Having read a file to its end, the reader goes on with the next number
below. A file that someone truncated is read anew.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from sampan.engine.logs.records import LogRecord
from sampan.errors import InvalidArgument
from sampan.runtime.launcher.log_gzip import read_extra
from sampan.runtime.launcher.log_rotation import log_names
from sampan.spec.times import parse_time_ns

_BLOCK: Final = 64 * 1024
_MAX_RECORD: Final = 1 << 20  # a record is at most 16 KiB of text, six times that when escaped, and a little
_TRIES: Final = 8
_NEVER: Final = 1 << 63
_STREAMS: Final = {"stdout": 1, "stderr": 2}
_TIME: Final = b'"time":"'
_STREAM: Final = b'","stream":"'
_LEAD: Final = 4096  # how far before a record's end its stream is looked for: attributes come between


class _Line(Struct, frozen=True):
    log: str = ""
    stream: str = "stdout"
    time: str = ""
    attrs: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Line).decode


class JsonFiles:
    """A LogSource of Docker's json-file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._packed_fd = -1  # the compressed file, when fd is a copy of what it holds
        self._rest = b""

    def close(self) -> None:
        """Close the file being read."""
        for fd in (self._fd, self._packed_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._packed_fd = -1

    def seek_start(self, *, since_ns: int = 0) -> None:
        """Go to the oldest record that is not older than since_ns, or a little before it."""
        for _ in range(_TRIES):
            if self._seek_start(since_ns):
                return

    def _seek_start(self, since_ns: int) -> bool:
        for name, inode in reversed(self._files()):
            if name != self._path and _last_ns(name) < since_ns:
                continue
            if not self._open_if(name, inode):
                return False
            if since_ns:
                os.lseek(self._fd, _find_time(self._fd, since_ns), os.SEEK_SET)
            break
        return True

    def seek_tail(self, count: int, *, whole_lines: bool = False) -> None:
        """Go to the last count records, reading no more than they take."""
        ends = _ends_line if whole_lines else _any_record
        for _ in range(_TRIES):
            if self._seek_tail(count, ends):
                return

    def _seek_tail(self, count: int, ends: Callable[[bytes, int], bool]) -> bool:
        """Go to the last count records; False if the files were renamed or compressed meanwhile."""
        for name, inode in self._files():
            if not self._open_if(name, inode):
                return False
            offset, count = _find_tail(self._fd, count, ends)
            os.lseek(self._fd, offset, os.SEEK_SET)
            if not count:
                break
        return True

    def read(self) -> list[LogRecord] | None:
        """Return the next records; None when there is no more for now."""
        raw = self.read_raw()
        if not raw:
            return None
        records = []
        for text in raw:
            try:
                line = _decode(text)
            except msgspec.MsgspecError:
                continue  # cut short by a full disk or a crash of the machine
            stream = _STREAMS.get(line.stream, 1)
            records.append(
                LogRecord(stream, line.log.encode(errors="surrogateescape"), line.time, line.attrs)
            )
        return records

    def read_raw(self) -> list[bytes]:
        """Return the next records as they are in the file, without their newline; [] when there is none."""
        while True:
            if self._fd < 0 and not self._open_next():
                return []
            block = os.read(self._fd, _BLOCK)
            if block:
                records = self._split(block)
                if records:
                    return records
            elif not self._rewind() and not self._open_next():
                return []

    def _split(self, block: bytes) -> list[bytes]:
        *records, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > _MAX_RECORD:
            self._rest = b""  # no record of ours: a damaged file must not fill the memory
        return records

    def _rewind(self) -> bool:
        """Begin the file anew if someone has truncated it."""
        if os.lseek(self._fd, 0, os.SEEK_CUR) <= os.fstat(self._fd).st_size:
            return False
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._rest = b""
        return True

    def _open_next(self) -> bool:
        """Move to the file written after the one at hand; False when that one is the newest."""
        names: list[str] = []
        for _ in range(_TRIES):
            files = self._files()
            names = [name for name, _ in files]
            if not names:
                return False
            if self._fd < 0:
                return self._open(names[0])
            for position, name in enumerate(names):
                if self._is_ours(name):
                    return position > 0 and self._finish_and_open(names[position - 1])
            if files == self._files():  # else ours was renamed or compressed while we looked for it
                break
        return self._finish_and_open(names[-1])  # ours is no more: go on with the oldest there is

    def _finish_and_open(self, name: str) -> bool:
        """Open the next file unless ours got more records between our last read and its renaming."""
        if os.lseek(self._fd, 0, os.SEEK_CUR) < os.fstat(self._fd).st_size:
            return True
        return self._open(name)

    def _open_if(self, name: str, inode: int) -> bool:
        """Open a file that has been looked up, unless its name is another's by now."""
        if not self._open(name):
            return False
        return os.fstat(self._packed_fd if self._packed_fd >= 0 else self._fd).st_ino == inode

    def _open(self, name: str) -> bool:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        packed = name.endswith(".gz")
        data = _decompressed(fd, os.path.dirname(self._path)) if packed else fd
        self.close()
        self._fd, self._packed_fd, self._rest = data, fd if packed else -1, b""
        return True

    def _is_ours(self, name: str) -> bool:
        """Tell whether name is the file that is being read, compressed by now or not."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if self._packed_fd >= 0 or not name.endswith(".gz"):
                held = self._packed_fd if self._packed_fd >= 0 else self._fd
                return os.path.samestat(os.fstat(fd), os.fstat(held))
            ours, extra = os.fstat(self._fd), read_extra(fd)
            return extra.get("inode") == ours.st_ino and _header_ns(extra) == ours.st_mtime_ns
        finally:
            os.close(fd)

    def _files(self) -> list[tuple[str, int]]:
        """Return (name, inode) of each file, newest first, as it was at one moment between two rotations."""
        seen: list[tuple[str, int]] = []
        for _ in range(_TRIES):
            found = [(name, _inode(name)) for name in log_names(self._path)]
            if found == seen:
                break
            seen = found
        return seen


def _inode(name: str) -> int:
    try:
        return os.stat(name).st_ino
    except OSError:
        return 0


def _last_ns(name: str) -> int:
    """Return a time that no record of a file is after."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return _NEVER
    try:
        last = _header_ns(read_extra(fd)) if name.endswith(".gz") else None
        return os.fstat(fd).st_mtime_ns if last is None else last
    finally:
        os.close(fd)


def _header_ns(extra: Mapping[str, object]) -> int | None:
    """Return the last change of a file that was compressed, from its header."""
    text = extra.get("lastTime")
    try:
        return parse_time_ns(text) if isinstance(text, str) else None
    except InvalidArgument:
        return None


def _decompressed(fd: int, folder: str) -> int:
    """Return a descriptor of what fd holds; a damaged file gives what can be read of it."""
    target = _scratch(folder)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        while data := os.read(fd, _BLOCK):
            _write_all(target, unpacker.decompress(data))
    except zlib.error:
        pass
    os.lseek(target, 0, os.SEEK_SET)
    return target


def _scratch(folder: str) -> int:
    try:
        return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without it, or a full one
        return os.memfd_create("sampan-log", os.MFD_CLOEXEC)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _find_time(fd: int, since_ns: int) -> int:
    """Return the offset of a record at or shortly before the first one that is not older than since_ns."""
    low, high = 0, os.fstat(fd).st_size
    while high - low > 2 * _BLOCK:
        middle = (low + high) // 2
        found = _first_time(fd, middle, high)
        if found is None or found[1] >= since_ns:
            high = middle
        else:
            low = found[0]
    return low


def _first_time(fd: int, offset: int, end: int) -> tuple[int, int] | None:
    """Return (start, time) of the first whole record that begins after offset and before end."""
    data = b""
    while offset + len(data) < end and len(data) < _MAX_RECORD:
        data += os.pread(fd, _BLOCK, offset + len(data))
        start = data.find(b"\n") + 1
        while start:
            stop = data.find(b"\n", start)
            if stop < 0:
                break
            time_ns = _record_time(data[start:stop])
            if time_ns is not None:
                return offset + start, time_ns
            start = stop + 1
    return None


def _record_time(record: bytes) -> int | None:
    at = record.rfind(_TIME)
    if at < 0:
        return None
    try:
        return parse_time_ns(record[at + len(_TIME) :].partition(b'"')[0].decode())
    except (InvalidArgument, UnicodeDecodeError):
        return None


def _any_record(_block: bytes, _end: int) -> bool:
    return True


def _ends_line(block: bytes, end: int) -> bool:
    """Tell whether the record that ends at end of block ends a line of output."""
    stream = block.rfind(_STREAM, max(0, end - _LEAD), end)
    return stream < 0 or block.endswith(b"\\n", 0, stream)


def _find_tail(fd: int, count: int, ends: Callable[[bytes, int], bool]) -> tuple[int, int]:
    """Return where the last count records begin, and how many are missing in this file."""
    end = position = os.fstat(fd).st_size
    if count <= 0:
        return end, 0
    found = 0
    while position > 0:
        start = max(0, position - _BLOCK)
        lead = min(start, _LEAD)
        block = os.pread(fd, position - start + lead, start - lead)
        at = len(block)
        while (at := block.rfind(b"\n", lead, at)) >= 0:
            if start - lead + at == end - 1:
                continue  # the newline that ends the last record begins no other
            if not ends(block, at):
                continue
            found += 1
            if found == count:
                return start - lead + at + 1, 0
        position = start
    return 0, count - found - (1 if end else 0)
