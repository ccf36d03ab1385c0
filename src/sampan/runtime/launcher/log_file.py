"""The json-file log of a container on disk: appended, rotated, never in the container's way. Lean.

Only a single record that is longer than max_size makes a file exceed it. A record is on disk whole or not at
all, also on a full disk.
"""

from __future__ import annotations

import os

from sampan.runtime.launcher.json_lines import Clock, encode
from sampan.runtime.launcher.log_rotation import RotatingFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.runtime.launcher.messages import LogSettings

_FLUSH_AT = 256 * 1024  # bytes of records gathered before a write: bounds memory, one write for most reads


class LogFile(RotatingFile):
    """A sink (log_writer.py). Nothing here raises OSError: what cannot be written is counted.

    Each further function that a quiet container's shim runs costs a page or two: hence one class, few calls.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._limit = settings.max_size
        self._attrs = settings.attrs
        self._clock = Clock()
        self.dropped_bytes = 0  # of records that could not be written
        self.setup(settings, compress=settings.compress)

    def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
        """Write pieces of stream ("stdout" or "stderr") that came at one time."""
        stamp = ""
        gathered: list[bytes] = []
        length = 0
        for piece in pieces:
            stamp = stamp or self._clock.render(at_ns)
            records = encode(piece, stream=stream, stamp=stamp, attrs=self._attrs)
            gathered.append(records)
            length += len(records)
            if length >= _FLUSH_AT:
                self._store(b"".join(gathered))
                gathered.clear()
                length = 0
        if gathered:
            self._store(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def _store(self, records: bytes) -> None:
        limit = self._limit
        while limit and self.size + len(records) > limit:
            fitting = records.rfind(b"\n", 0, max(0, limit - self.size)) + 1
            if not fitting and self.size == 0:
                fitting = records.find(b"\n") + 1  # one record longer than a file has it alone
            if fitting:
                self._write(records[:fitting])
                records = records[fitting:]
            if not records:
                return
            if not self.rotate():
                break
        self._write(records)

    def _write(self, records: bytes) -> None:
        try:
            if self.fd < 0:
                self.open(0)
            written = os.write(self.fd, records)
        except OSError:
            self.dropped_bytes += len(records)
            return
        self.size += written
        if written < len(records):  # the disk became full: keep whole records, or the file is no JSON
            whole = records.rfind(b"\n", 0, written) + 1
            self.dropped_bytes += len(records) - whole
            if written > whole:
                self.cut_off(written - whole)
