"""An epoll loop with timers, small enough to be read at once. Lean.

asyncio would cost each shim about 10 MiB; a shim watches about ten descriptors.
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
HUNG_UP = select.EPOLLHUP | select.EPOLLERR  # the kernel reports these whether asked or not

_BATCH = 16  # epoll_wait allocates room for its largest answer on each call


class Timer:
    """A call at a time of the monotonic clock; `cancel` may come at any moment."""

    __slots__ = ("_callback", "deadline")

    def __init__(self, deadline: float, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make sure that the call does not happen."""
        self._callback = None

    def fire(self) -> None:
        """Make the call, unless it was cancelled or already made."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self._callback is not None


class Loop:
    """Calls a handler with the event mask whenever its descriptor has something."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._forgotten: set[int] = set()  # since the last poll: their events in this batch are stale
        self._running = False

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call handler(events) when fd has one of mask, or is hung up."""
        self._epoll.register(fd, mask)
        self._handlers[fd] = handler

    def change(self, fd: int, mask: int) -> None:
        """Watch fd for mask from now on; with 0 only hang-ups are seen."""
        self._epoll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Stop watching fd. Before it is closed: epoll watches the open file, which others may hold too."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._forgotten.add(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once after so many seconds."""
        timer = Timer(time.monotonic() + seconds, callback)
        self._timers.append(timer)
        return timer

    def run(self) -> None:
        """Handle events until `stop`."""
        self._running = True
        while self._running:
            self._forgotten.clear()
            for fd, events in self._epoll.poll(self._timeout(), _BATCH):
                handler = self._handlers.get(fd)
                if handler is not None and fd not in self._forgotten:
                    handler(events)
            self._fire_timers()

    def stop(self) -> None:
        """Let `run` return after the present batch."""
        self._running = False

    def _timeout(self) -> float | None:
        self._timers = [timer for timer in self._timers if timer.pending]
        if not self._timers:
            return None
        return max(0.0, min(timer.deadline for timer in self._timers) - time.monotonic())

    def _fire_timers(self) -> None:
        if not self._timers:
            return
        now = time.monotonic()
        for timer in list(self._timers):
            if timer.deadline <= now:
                timer.fire()
