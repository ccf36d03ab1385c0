"""Notice that a client has gone from a connection whose bytes another process reads.

epoll reports a hang-up even for a descriptor registered without events, so nothing is read here and a
half-closed connection (end of standard input) is no hang-up: unix(7) shuts both directions only on close.
"""

from __future__ import annotations

import asyncio
import select


class HangupWatch:
    """Watches descriptors for hang-up; belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def watch(self, fd: int) -> asyncio.Future[None]:
        """Return a future that is done when the other end of fd is gone. Call `forget` before closing fd."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._epoll.register(fd, 0)
        self._waiting[fd] = future
        return future

    def forget(self, fd: int) -> None:
        """Stop watching fd; fine if it hung up already."""
        future = self._waiting.pop(fd, None)
        if future is not None:
            self._epoll.unregister(fd)
            future.cancel()

    def close(self) -> None:
        """Give the descriptor back."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _on_ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            future = self._waiting.pop(fd, None)
            self._epoll.unregister(fd)  # a hang-up is reported again and again
            if future is not None and not future.done():
                future.set_result(None)
