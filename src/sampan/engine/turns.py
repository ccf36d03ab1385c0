"""One at a time, and nobody waits: for work that makes no sense twice at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.errors import Conflict


class Turn:
    """Lets one prune of a kind run at a time."""

    def __init__(self, what: str = "prune") -> None:
        self._what = what
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn for a block.

        Raises:
            Conflict: somebody has it; in Docker's words.
        """
        if not self._lock.acquire(blocking=False):
            raise Conflict(f"a {self._what} operation is already running")
        try:
            yield
        finally:
            self._lock.release()
