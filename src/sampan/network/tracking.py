"""The kernel's table of tracked connections: when it is full, packets are lost without a word to anybody.

Published ports and masquerading need it, and others on the host fill it, too. How large it may be is for the
host's administrator to say. Source: Documentation/networking/nf_conntrack-sysctl.rst in Linux.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from sampan import log

LIMIT: Final = "net.netfilter.nf_conntrack_max"
_COUNT: Final = "net.netfilter.nf_conntrack_count"
_STATISTICS: Final = "/proc/net/stat/nf_conntrack"
_PERIOD_S: Final = 3.0
_FULL: Final = 0.95  # the kernel throws unanswered flows out near the end, so that the last place stays free


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """limit 0: none. dropped: packets that found no place since the namespace is there, of all processors."""

    entries: int
    limit: int
    dropped: int

    @property
    def is_full(self) -> bool:
        """Whether there is no room, or hardly any."""
        return 0 < self.limit * _FULL <= self.entries


def read_table() -> Table | None:
    """Return the state of the table in this network namespace; None where nothing is tracked."""
    try:
        entries, limit = (int(_read(name)) for name in (_COUNT, LIMIT))
        return Table(entries=entries, limit=limit, dropped=_dropped())
    except (OSError, ValueError):
        return None


def _read(sysctl: str) -> str:
    with open(f"/proc/sys/{sysctl.replace('.', '/')}") as file:
        return file.read()


def _dropped() -> int:
    """Add up a column of hexadecimal numbers that has a line for each processor."""
    with open(_STATISTICS) as file:
        head, *rows = (line.split() for line in file)
    return sum(int(row[head.index("drop")], 16) for row in rows)


class TableWatch:
    """Looks every three seconds, and tells the log when the table gets full, and when it has room again."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Watch from now on. Not thread-safe: its owner holds a lock."""
        if self._thread is None and not self._end.is_set():
            self._thread = threading.Thread(target=self._run, name="sampan-tracking", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        was_full, dropped = False, 0
        while not self._end.wait(_PERIOD_S):
            table = read_table()
            if table is None:
                continue
            is_full = table.is_full or (was_full and table.dropped > dropped)
            if is_full and not was_full:
                log.error(
                    "the table of tracked connections is full: new connections of containers are lost",
                    entries=table.entries,
                    limit=table.limit,
                    hint=f"raise {LIMIT}, or find who opens so many: conntrack -L",
                )
            elif was_full and not is_full:
                log.info("the table of tracked connections has room again", entries=table.entries)
            was_full, dropped = is_full, table.dropped

    def close(self) -> None:
        """Watch no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
