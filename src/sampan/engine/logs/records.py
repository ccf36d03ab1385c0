"""One record of a log, and the time bounds that are looked for in many."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import Struct

from sampan.errors import InvalidArgument
from sampan.spec.times import parse_time_ns

_SECOND_NS: Final = 10**9


class LogRecord(Struct, frozen=True, gc=False):
    """A line, or a part of a long one. time: ns since 1970, or as written in the file."""

    stream: int
    text: bytes
    time: str | int
    attrs: Mapping[str, str] | None = None

    @property
    def time_ns(self) -> int:
        """When it came; 0 where the file says nothing that is a time."""
        if isinstance(self.time, int):
            return self.time
        try:
            return parse_time_ns(self.time)
        except InvalidArgument:
            return 0

    @property
    def stamp(self) -> str:
        """The time with all nine digits of its fraction: `2006-01-02T15:04:05.000000000Z`."""
        if isinstance(self.time, str):
            whole, _, fraction = self.time.removesuffix("Z").partition(".")
            return f"{whole}.{fraction:0<9}Z"
        seconds, fraction_ns = divmod(self.time, _SECOND_NS)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction_ns:09d}Z"


class LogSource(Protocol):
    """The files of one log. Oldest record first. Not thread-safe."""

    def seek_start(self, *, since_ns: int = 0) -> None:
        """Go to the oldest record, leaving out what is known to be older than since_ns."""
        ...

    def seek_tail(self, count: int, *, whole_lines: bool = False) -> None:
        """Go to the last count records; with whole_lines parts of a line count as one."""
        ...

    def read(self) -> list[LogRecord] | None:
        """Return the next records; None when there is no more for now."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
