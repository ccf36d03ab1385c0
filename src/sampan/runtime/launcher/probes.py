"""Checks of a container's health: an exec whose output is kept, in part, and that has a time-out. Lean.

The shim ends a check that takes too long by itself: sampand may be away just then.
"""

from __future__ import annotations

import os

ASK = b'{"check":true}'  # to a checker: once more
_SIGKILL = 9


class Capture:
    """Keeps the first bytes that a process writes, of both streams as they come; the rest is dropped.

    To Streams it is what a log is.
    """

    slow: None = None  # nobody waits for it

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = b""
        self._cut = False

    def write(self, _name: str, data: bytes) -> None:
        """Keep what there is room for."""
        room = self._limit - len(self._data)
        self._data += data[:room]
        self._cut = self._cut or len(data) > room

    def finish(self, _name: str) -> None:
        """A stream has ended."""

    def text(self) -> str:
        """Return what was kept, with `...` behind it if it was more."""
        return self._data.decode("utf-8", "replace") + ("..." if self._cut else "")


def kill_group(pid: int) -> None:
    """Kill a child of ours that was not reaped yet, and what it started in its own process group."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, _SIGKILL)
        else:
            os.kill(pid, _SIGKILL)
    except ProcessLookupError:
        pass
