"""Threads that do what nobody should wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from sampan import log

Task = Callable[[], None]


class Worker:
    """One thread and its queue. A task that fails is logged; recovery at the next start does it again."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._idle = threading.Condition()
        self._open_tasks = 0
        self._thread = threading.Thread(target=self._run, name=f"sampan-{name}", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Do task after those submitted before."""
        with self._idle:
            self._open_tasks += 1
        self._queue.put(task)

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is left to do; return whether that was reached in time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open_tasks == 0, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Do what was submitted, for so long, and end the thread."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task()
            except Exception as exc:
                log.error("background task failed", reason=repr(exc))
            finally:
                with self._idle:
                    self._open_tasks -= 1
                    self._idle.notify_all()
