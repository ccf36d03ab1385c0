"""One thread with a heap of deadlines: for everything that is to happen later."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from itertools import count

from sampan import log

Callback = Callable[[], None]


class Timer:
    """One call to come; `cancel` may come from any thread, at any moment."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Make sure that the call does not begin from now on; one that has begun goes on."""
        self.callback = None


class Timers:
    """Calls back at times of the monotonic clock. What is called must be short: all share the thread.

    A cancelled timer stays in the heap until its time; when the heap has doubled it is built anew.
    """

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._limit = 1024

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back once after delay_s."""
        return self.call_at(time.monotonic() + delay_s, callback)

    def call_at(self, deadline_s: float, callback: Callback) -> Timer:
        """Call back once at a time of the monotonic clock; at once if that has passed."""
        timer = Timer(callback)
        with self._wake:
            if self._closed:
                return timer
            heapq.heappush(self._heap, (deadline_s, next(self._order), timer))
            if len(self._heap) > self._limit:
                self._compact()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sampan-timers", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is timer:
                self._wake.notify()
        return timer

    def close(self) -> None:
        """Call nobody any more, and end the thread."""
        with self._wake:
            self._closed = True
            self._heap.clear()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].callback is not None]
        heapq.heapify(self._heap)
        self._limit = max(1024, 2 * len(self._heap))

    def _run(self) -> None:
        while (callback := self._next()) is not None:
            try:
                callback()
            except Exception as exc:  # the others' time comes all the same
                log.error("timer failed", reason=repr(exc))

    def _next(self) -> Callback | None:
        """Wait for the next call that is due; None when closed."""
        with self._wake:
            while not self._closed:
                if not self._heap:
                    self._wake.wait()
                    continue
                deadline_s, _, timer = self._heap[0]
                left_s = deadline_s - time.monotonic()
                if timer.callback is not None and left_s > 0:
                    self._wake.wait(left_s)
                    continue
                heapq.heappop(self._heap)
                if timer.callback is not None:
                    callback, timer.callback = timer.callback, None
                    return callback
            return None
