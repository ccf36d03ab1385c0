"""The json-file log of a container on disk: appended, rotated, never in the container's way. Lean.

`path` is written, `path.1` is the one before, up to `path.<max_files - 1>`. Only a single record that is
longer than max_size makes a file exceed it. A record is on disk whole or not at all, also on a full disk.
"""

from __future__ import annotations

import os
import time

from sampan.runtime.launcher.json_lines import Clock, LineSplitter, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.runtime.launcher.messages import LogSettings

_FILE_MODE = 0o640
_FLUSH_AT = 256 * 1024  # bytes of records gathered before a write: bounds memory, one write for most reads


class LogFile:
    """Takes what the container writes. Nothing here raises OSError: what cannot be written is counted."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._clock = Clock()
        self._splitters: dict[str, LineSplitter] = {}
        self._fd = -1
        self._size = 0
        self.dropped_bytes = 0  # of records that could not be written
        self._open(os.O_APPEND)

    def write(self, stream: str, data: bytes) -> None:
        """Log what was read from stream ("stdout" or "stderr"); an unfinished line waits for its end."""
        splitter = self._splitters.get(stream)
        if splitter is None:
            splitter = self._splitters[stream] = LineSplitter()
        self._append(splitter.feed(data), stream)

    def finish(self, stream: str) -> None:
        """Log an unfinished last line: stream has ended."""
        splitter = self._splitters.pop(stream, None)
        rest = splitter.finish() if splitter is not None else b""
        if rest:
            self._append((rest,), stream)

    def close(self) -> None:
        """Log what is unfinished and close the file."""
        for stream in list(self._splitters):
            self.finish(stream)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, pieces: Iterable[bytes], stream: str) -> None:
        stamp = ""
        gathered: list[bytes] = []
        length = 0
        for piece in pieces:
            stamp = stamp or self._clock.render(time.time_ns())
            records = encode(piece, stream=stream, stamp=stamp)
            gathered.append(records)
            length += len(records)
            if length >= _FLUSH_AT:
                self._store(b"".join(gathered))
                gathered.clear()
                length = 0
        if gathered:
            self._store(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def _store(self, records: bytes) -> None:
        limit = self._settings.max_size
        while limit and self._size + len(records) > limit:
            fitting = records.rfind(b"\n", 0, max(0, limit - self._size)) + 1
            if not fitting and self._size == 0:
                fitting = records.find(b"\n") + 1  # one record longer than a file has it alone
            if fitting:
                self._write(records[:fitting])
                records = records[fitting:]
            if not records:
                return
            if not self._rotate():
                break
        self._write(records)

    def _write(self, records: bytes) -> None:
        try:
            if self._fd < 0:
                self._open(os.O_APPEND)
            written = os.write(self._fd, records)
        except OSError:
            self.dropped_bytes += len(records)
            return
        if written < len(records):  # the disk became full: keep whole records, or the file is no JSON
            whole = records.rfind(b"\n", 0, written) + 1
            self.dropped_bytes += len(records) - whole
            self._cut_back(self._size + whole)
            written = whole
        self._size += written

    def _cut_back(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError:
            pass  # a torn record stays; readers skip lines that are no JSON

    def _rotate(self) -> bool:
        """Start a new file; False if that is not possible, and the present one goes on."""
        settings = self._settings
        try:
            for number in range(settings.max_files - 1, 0, -1):
                older = settings.path if number == 1 else f"{settings.path}.{number - 1}"
                if number == 1 or os.path.lexists(older):
                    os.rename(older, f"{settings.path}.{number}")
        except FileNotFoundError:
            pass  # someone removed the log: a new one is started below
        except OSError:
            return False
        previous = self._fd
        self._open(os.O_TRUNC if settings.max_files <= 1 else os.O_APPEND)
        if previous >= 0:
            os.close(previous)
        return self._fd >= 0

    def _open(self, how: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | how
        try:
            self._fd = os.open(self._settings.path, flags, _FILE_MODE)
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1
            self._size = 0
