"""The text of stages that run side by side, in the order of one after the other.

The first stage that has not ended speaks at once; what later ones say is held back until it is their turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

Say = Callable[[], None]


class InOrder:
    """Queues by stage; thread-safe."""

    def __init__(self, stages: Sequence[int]) -> None:
        self._lock = threading.Lock()
        self._order = list(stages)
        self._held: dict[int, list[Say]] = {index: [] for index in stages}
        self._ended: set[int] = set()

    def say(self, stage: int, say: Say) -> None:
        """Call say when it is the stage's turn: now, or later in another thread."""
        with self._lock:
            if self._order and self._order[0] == stage:
                say()
            else:
                self._held[stage].append(say)

    def end(self, stage: int) -> None:
        """The stage says nothing more."""
        with self._lock:
            self._ended.add(stage)
            while self._order and self._order[0] in self._ended:
                self._order.pop(0)
                if self._order:
                    held, self._held[self._order[0]] = self._held[self._order[0]], []
                    for say in held:
                        say()
