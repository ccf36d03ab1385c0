"""One thread's loop: descriptors with what to call when they are ready, and timers. Lean."""

from __future__ import annotations

import heapq
import select
import time

from sampan import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_BATCH = 64  # ready descriptors taken at once


class Timer:
    """Something to be called later, unless cancelled."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Call nothing."""
        self._call = None

    def fire(self) -> None:
        """Call it, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Loop:
    """Calls what is registered until `stop`. Descriptors stay their owners'."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._running = True

    def add(self, fd: int, call: Callable[[], None], events: int = READ) -> None:
        """Call when fd is ready (or has ended) until `remove`."""
        self._epoll.register(fd, events)
        self._calls[fd] = call

    def change(self, fd: int, call: Callable[[], None], events: int) -> None:
        """Wait for something else on fd."""
        self._epoll.modify(fd, events)
        self._calls[fd] = call

    def remove(self, fd: int) -> None:
        """Forget fd; before it is closed."""
        del self._calls[fd]
        self._epoll.unregister(fd)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once after so many seconds."""
        timer = Timer(call)
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, timer))
        return timer

    def stop(self) -> None:
        """Let `run` return."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`. An error of one call is logged and ends nothing."""
        poll, calls = self._epoll.poll, self._calls
        while self._running:
            for fd, _ in poll(self._fire_timers(), _BATCH):
                call = calls.get(fd)  # None: a call before it removed it
                if call is not None:
                    _guarded(call)

    def _fire_timers(self) -> float:
        """Call what is due; return the seconds until the next timer, -1 for none."""
        while self._timers:
            wait = self._timers[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _guarded(heapq.heappop(self._timers)[2].fire)
        return -1


def _guarded(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception as exc:  # one client's trouble must not end the names of all
        log.error("dns: a step failed", reason=repr(exc))
