"""One thread that waits on every descriptor the engine cares for: the launcher and all shims."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from sampan import log

Last = Callable[[], None]
Handler = Callable[[], Last | None]  # called when the descriptor is readable; an answer ends the watch


class Supervisor:
    """Calls a handler when its descriptor is readable; handlers run one after another in its thread.

    A handler that returns a function is forgotten first and that function called then: it may close the
    descriptor, and a number that is used again can never be taken for the old one.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._handlers: dict[int, Handler] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sampan-supervisor", daemon=True)
        self._epoll.register(self._wake_fd, select.EPOLLIN)

    def start(self) -> None:
        """Begin to call handlers."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; handlers are not called any more, their descriptors are the owners' to close."""
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._epoll.close()
        os.close(self._wake_fd)

    def watch(self, fd: int, handler: Handler) -> None:
        """Watch fd from now on. Any thread may call."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def _run(self) -> None:
        while not self._stopping:
            for fd, _ in self._epoll.poll():
                if fd in self._handlers:
                    self._call(fd)

    def _call(self, fd: int) -> None:
        try:
            last = self._handlers[fd]()
            if last is not None:
                self._forget(fd)
                last()
        except Exception as exc:  # the other containers must go on being watched
            log.error("handler failed", reason=repr(exc))
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
