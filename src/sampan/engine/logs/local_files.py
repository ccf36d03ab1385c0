"""A log of the driver local: blocks across rotated files, then the live file (docs/logs.md, "Files").

Blocks and live files are numbered, so that the reader knows what comes next whatever was renamed meanwhile:
the live file it holds, to its end; then the block or live file of the next number.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from sampan.engine.logs.records import LogRecord
from sampan.runtime.launcher import local_format
from sampan.runtime.launcher.local_format import Block, Damaged, Head
from sampan.runtime.launcher.log_rotation import log_names

_READ = 1 << 20
_TRIES = 8


@dataclass(slots=True)
class _File:
    """An open file of blocks; closed with the reader."""

    fd: int
    attrs: Mapping[str, str] | None


@dataclass(slots=True)
class _Place:
    file: _File
    block: Block


class LocalFiles:
    """A LogSource."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: list[_File] = []
        self._places: deque[_Place] = deque()
        self._next = 0  # number of the block that is to be read next; 0: any
        self._live = -1
        self._live_number = 0
        self._live_at = 0
        self._attrs: Mapping[str, str] | None = None
        self._whole = False
        self._skip = 0  # records at the beginning of what is read next that are not wanted

    def close(self) -> None:
        """Close every file."""
        self._close_files()
        if self._live >= 0:
            os.close(self._live)
            self._live = -1

    def seek_start(self, *, since_ns: int = 0) -> None:
        """Go to the first block that holds something not older than since_ns."""
        self._load()
        while self._places and self._places[0].block.last_ns < since_ns:
            self._next = self._places.popleft().block.number + 1

    def seek_tail(self, count: int, *, whole_lines: bool = False) -> None:
        """Go to the last count records, reading the blocks they are in and no others."""
        self._load()
        wanted: deque[_Place] = deque()
        live = self._count_live(whole_lines=whole_lines)
        have = live
        while self._places and have < count:
            place = self._places.pop()
            wanted.appendleft(place)
            have += self._count(place, whole_lines=whole_lines)
        if self._places:
            self._next = self._places[-1].block.number + 1
        self._places = wanted
        self._skip = max(0, have - count)
        self._whole = whole_lines

    def read(self) -> list[LogRecord] | None:
        """Return the next records; None when there is no more for now."""
        while True:
            if self._places:
                place = self._places.popleft()
                self._next = place.block.number + 1
                return self._skipped(self._read_block(place))
            if self._live < 0 and not self._open_live():
                if not self._places:
                    return None
                continue
            records = self._read_live()
            if records:
                return self._skipped(records)
            if not self._leave_live():
                return None

    def _skipped(self, records: list[LogRecord]) -> list[LogRecord]:
        while self._skip and records:
            first = records.pop(0)
            if not self._whole or first.text.endswith(b"\n"):
                self._skip -= 1
        return records

    def _load(self) -> None:
        """Note every block from the next number on; the files stay open."""
        places: list[_Place] = []
        for _ in range(_TRIES):
            self._close_files()
            names = _inodes(self._path)
            places = [place for name in reversed(names) for place in self._load_file(name)]
            if names == _inodes(self._path):  # else a rotation came in between
                break
        places.sort(key=lambda place: place.block.number)
        self._places = deque(place for place in places if place.block.number >= self._next)

    def _load_file(self, name: str) -> list[_Place]:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            head = local_format.read_head(fd)
        except Damaged:
            os.close(fd)
            return []
        file = _File(fd, _parse_attrs(head))
        self._files.append(file)
        return [_Place(file, block) for block in local_format.read_blocks(fd, head.length)]

    def _close_files(self) -> None:
        for file in self._files:
            os.close(file.fd)
        self._files.clear()
        self._places.clear()

    def _read_block(self, place: _Place) -> list[LogRecord]:
        try:
            frames = local_format.read_frames(place.file.fd, place.block)
        except Damaged:
            return []
        return list(_records(frames, place.file.attrs))

    def _open_live(self) -> bool:
        """Open the live file if it is the next one; else note the blocks that come before it."""
        try:
            fd = os.open(f"{self._path}.live", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            head = local_format.read_head(fd)
        except Damaged:
            os.close(fd)
            return False
        if head.number > max(self._next, 1):
            self._load()
            if self._places:
                os.close(fd)
                return False
        elif head.number < self._next:
            os.close(fd)  # it is a block already: the shim was killed before it could begin another
            return False
        self._live, self._live_number, self._live_at = fd, head.number, head.length
        self._attrs = _parse_attrs(head)
        return True

    def _read_live(self) -> list[LogRecord]:
        data = os.pread(self._live, _READ, self._live_at)
        whole = local_format.whole_frames(data)
        self._live_at += whole
        return list(_records(data[:whole], self._attrs))

    def _leave_live(self) -> bool:
        """Go on behind the live file when another has taken its place and nothing of ours is unread."""
        try:
            same = os.stat(f"{self._path}.live").st_ino == os.fstat(self._live).st_ino
        except OSError:
            return False
        if same:
            return False
        if os.fstat(self._live).st_size > self._live_at and self._has_frame():
            return True
        os.close(self._live)
        self._live = -1
        self._next = self._live_number + 1
        return True

    def _has_frame(self) -> bool:
        return local_format.whole_frames(os.pread(self._live, _READ, self._live_at)) > 0

    def _count_live(self, *, whole_lines: bool) -> int:
        """Return how many records the live file has, if it is not a block already; leave it open."""
        if self._places:
            self._next = self._places[-1].block.number + 1
        places, self._places = self._places, deque()
        opened = self._open_live()
        if self._places:  # it became a block meanwhile
            places += self._places
            self._next = places[-1].block.number + 1
            self._places = deque()
            opened = self._open_live()
        self._places = places
        self._next = 0
        if not opened:
            return 0
        data = os.pread(self._live, os.fstat(self._live).st_size, self._live_at)
        return _count_frames(data, whole_lines=whole_lines)

    def _count(self, place: _Place, *, whole_lines: bool) -> int:
        if not whole_lines:
            return place.block.records
        try:
            frames = local_format.read_frames(place.file.fd, place.block)
        except Damaged:
            return 0
        return _count_frames(frames, whole_lines=True)


def _inodes(path: str) -> dict[str, int]:
    """Return the files of a log, newest first, and which they are."""
    inodes = {}
    for name in log_names(path):
        try:
            inodes[name] = os.stat(name).st_ino
        except OSError:
            continue
    return inodes


def _count_frames(frames: bytes, *, whole_lines: bool) -> int:
    total = 0
    for _, _, start, end in local_format.split_frames(frames):
        total += (
            frames.count(b"\n", start, end) if whole_lines else local_format.count_records(frames, start, end)
        )
    return total


def _records(frames: bytes, attrs: Mapping[str, str] | None) -> Iterator[LogRecord]:
    for stream, at_ns, start, end in local_format.split_frames(frames):
        for line in _lines(frames, start, end):
            yield LogRecord(stream, line, at_ns, attrs)


def _lines(frames: bytes, start: int, end: int) -> Iterator[bytes]:
    """Yield the lines of a frame; only a line feed ends one."""
    while start < end:
        stop = frames.find(b"\n", start, end) + 1 or end
        yield frames[start:stop]
        start = stop


def _parse_attrs(head: Head) -> Mapping[str, str] | None:
    if not head.attrs:
        return None
    try:
        return msgspec.json.decode(head.attrs, type=dict[str, str])
    except msgspec.MsgspecError:
        return None
