"""A bounded number of threads for work that may wait; each is made when it is first needed."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from sampan import log
from sampan.engine.workers import Task

_IDLE_S = 30.0


class Pool:
    """At most `size` tasks at once, the others in the order they came. Idle threads end.

    Unlike concurrent.futures its threads do not hold up the end of the program: what is cut short is found
    again by the next start (docs/engine.md, "Recovery").
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._queue: SimpleQueue[Task] = SimpleQueue()
        self._state = threading.Condition()
        self._threads = 0
        self._open_tasks = 0
        self._closed = False

    def submit(self, task: Task) -> None:
        """Do task soon; nothing happens after `close`."""
        with self._state:
            if self._closed:
                return
            self._open_tasks += 1
            self._queue.put(task)
            if self._threads < min(self._size, self._open_tasks):
                self._threads += 1
                threading.Thread(target=self._run, name=f"sampan-{self._name}", daemon=True).start()

    def close(self, timeout_s: float) -> None:
        """Forget what has not begun, and wait so long for what has."""
        with self._state:
            self._closed = True
            while not self._queue.empty():
                self._queue.get()
                self._open_tasks -= 1
            self._state.wait_for(lambda: self._open_tasks == 0, timeout_s)

    def _run(self) -> None:
        while (task := self._take()) is not None:
            try:
                task()
            except Exception as exc:
                log.error("background task failed", pool=self._name, reason=repr(exc))
            finally:
                with self._state:
                    self._open_tasks -= 1
                    self._state.notify_all()

    def _take(self) -> Task | None:
        try:
            return self._queue.get(timeout=_IDLE_S)
        except Empty:
            with self._state:
                if not self._queue.empty():
                    return self._queue.get()
                self._threads -= 1
                return None
