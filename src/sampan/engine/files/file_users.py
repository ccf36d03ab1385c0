"""Who has a container's files open: it is not started, nor removed, in the middle of a copy."""

from __future__ import annotations

import threading


class FileUsers:
    """Counts copies under way. `begin` only while the container's lock is held: a start waits for the end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def begin(self) -> None:
        """One more."""
        with self._changed:
            self._count += 1

    def end(self) -> None:
        """One less."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_until_none(self, timeout_s: float) -> bool:
        """Wait for the end of all; return whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout_s)
