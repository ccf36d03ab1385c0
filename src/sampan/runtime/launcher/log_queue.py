"""A queue in front of a sink that may keep one waiting; a thread of the shim works it off. Lean.

```
 loop ── append ──► deque ── thread ──► sink    put_bytes is written by the loop only, taken_bytes
      ◄── room (eventfd) ───┘                   by the thread only: no lock, each step is whole
```

blocking: while the sink is there but slow, `full` tells the loop to read no more of the container. A sink
that is away (its server died) holds nobody up: what exceeds the limit is dropped and counted. Not blocking:
the same for a slow one. Forks of the shim (workers) inherit no thread, and never touch the log.
"""

from __future__ import annotations

import _thread
import os
import select

from sampan.runtime.launcher.loop import READABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from sampan.runtime.launcher.log_writer import Sink
    from sampan.runtime.launcher.loop import Loop

    class Remote(Sink, Protocol):
        """A sink at the other end of a socket: its `append` returns only when delivered, or when stopped."""

        away: bool  # not reachable: it tries again and again
        stop: Stop

else:
    from _collections import deque  # `collections` itself is large


_DRAIN_S = 2.0


class Stop:
    """Tells a thread to give up, also in the middle of a wait."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.asked = False
        self.on_change: Callable[[], None] = _nothing  # the sink's `away` has changed

    def ask(self) -> None:
        """Let every wait end now."""
        self.asked = True
        os.eventfd_write(self._fd, 1)

    def wait(self, seconds: float) -> None:
        """Return after seconds, or when asked to stop."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.poll(seconds * 1000)


def _nothing() -> None:
    pass


_Item = tuple[str, int, "list[bytes]", int]


class LogQueue:
    """A sink. The thread begins with the first record."""

    def __init__(self, sink: Sink, limit: int, *, blocking: bool) -> None:
        self._sink = sink
        self._limit = limit
        self._blocking = blocking
        self._items: deque[_Item | None] = deque()
        self._filled = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._room = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.put_bytes = 0
        self._taken_bytes = 0
        self._dropped = 0
        self._clear = False
        self._done = _thread.allocate_lock()
        self._stop: Stop | None = getattr(sink, "stop", None)
        if self._stop is not None:
            self._stop.on_change = self._say_room
        self._started = False

    @property
    def dropped_bytes(self) -> int:
        """What did not fit, and what the sink could not write."""
        return self._dropped + self._sink.dropped_bytes

    @property
    def _pending(self) -> int:
        return self.put_bytes - self._taken_bytes

    def has_written(self, position: int) -> bool:
        """Whether the sink has what was queued when `put_bytes` was position, or is none to be read back."""
        return self._stop is not None or self._taken_bytes >= position

    @property
    def full(self) -> bool:
        """Whether the container has to wait."""
        return self._blocking and self._pending > self._limit and not self._away

    @property
    def _away(self) -> bool:
        return bool(getattr(self._sink, "away", False))

    def watch(self, loop: Loop, on_room: Callable[[], None]) -> None:
        """Call back in the loop when `full` may have become false."""

        def on_event(_events: int) -> None:
            try:
                os.eventfd_read(self._room)
            except BlockingIOError:
                pass
            on_room()

        loop.watch(self._room, READABLE, on_event)

    def ignore(self, loop: Loop | None) -> None:
        """Call back no more."""
        if loop is not None:
            loop.forget(self._room)

    def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
        """Queue pieces, or drop them."""
        taken = list(pieces)
        length = sum(map(len, taken))
        if not length:
            return
        if self._pending + length > self._limit and self._pending and (not self._blocking or self._away):
            self._dropped += length
            return
        self.put_bytes += length
        self._put((stream, at_ns, taken, length))

    def clear(self) -> None:
        """Have the thread clear the sink, after what is queued."""
        self._clear = True
        self._put(("", 0, [], 0))

    def close(self) -> None:
        """Give the thread a moment to work off what waits, then give up."""
        if self._started:
            self._put(None)
            if not self._done.acquire(True, _DRAIN_S):
                if self._stop is not None:
                    self._stop.ask()
                    self._done.acquire(True, _DRAIN_S)
                self._dropped += self._pending
                return  # the thread may still hold the descriptors: the process is about to end
        else:
            self._sink.close()

    def _put(self, item: _Item | None) -> None:
        if not self._started:
            self._started = True
            self._done.acquire()
            _thread.start_new_thread(self._work, ())
        self._items.append(item)
        os.eventfd_write(self._filled, 1)

    def _work(self) -> None:
        try:
            while True:
                os.eventfd_read(self._filled)
                item = self._items.popleft()
                if item is None:
                    break
                self._deliver(item)
            self._sink.close()
        finally:
            self._done.release()

    def _deliver(self, item: _Item) -> None:
        stream, at_ns, pieces, length = item
        if not pieces:
            if self._clear:
                self._clear = False
                self._sink.clear()
            return
        self._sink.append(stream, at_ns, pieces)
        self._taken_bytes += length
        # Asked behind the subtraction: who found it full before is in the count, who comes later sees room.
        if self._pending + length > self._limit:
            self._say_room()

    def _say_room(self) -> None:
        try:
            os.eventfd_write(self._room, 1)
        except BlockingIOError:
            pass
