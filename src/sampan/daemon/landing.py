"""Bring values from the engine's threads into the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sampan.errors import Unavailable

T = TypeVar("T")

_LIMIT: Final = 10_000  # values that wait for a client that does not read


def _post(loop: asyncio.AbstractEventLoop, function: object, *arguments: object) -> None:
    """Call function in the loop; a loop that has ended needs nothing any more."""
    try:
        loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]  # any callable
    except RuntimeError:
        if not loop.is_closed():
            raise


class Post:
    """Calls into the running loop from other threads: many calls, one wake-up.

    Each wake-up of a loop costs a system call and a turn; an event for a hundred readers, or the samples of a
    thousand containers, need one. Belongs to the loop it is made in; `call` may be called from any thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._called = False

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call function in the loop, in order; it must not raise."""
        self._calls.append((function, arguments))
        if not self._called:  # set after the append: either the loop will see it, or it is woken here
            self._called = True
            _post(self._loop, self._deliver)

    def _deliver(self) -> None:
        self._called = False
        while self._calls:
            function, arguments = self._calls.popleft()
            function(*arguments)


class Landing(Generic[T]):
    """One value that another thread will give. `give` may be called from any thread; the first counts."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()

    def give(self, value: T) -> None:
        """Deliver the value."""
        _post(self._loop, self._set, value)

    def _set(self, value: T) -> None:
        if not self.future.done():
            self.future.set_result(value)


class Mailbox(Generic[T]):
    """Values in order, from any thread, for one task of the loop.

    At most _LIMIT wait: a client that does not read for longer gets an error in place of the rest.
    """

    def __init__(self, post: Post | None = None) -> None:
        self._post = post or Post()
        self._values: deque[T] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._overflow = False

    def put(self, value: T) -> None:
        """Add a value."""
        self._post.call(self._add, value)

    def close(self) -> None:
        """Add the end: `get` returns None once everything before it was taken."""
        self._post.call(self._end)

    async def get(self) -> T | None:
        """Return the next value, None at the end.

        Raises:
            Unavailable: values were lost because they were not taken fast enough.
        """
        while not self._values:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        if self._overflow:
            raise Unavailable(
                f"the client did not read {_LIMIT} messages in time", hint="ask again, with since for events"
            )
        return self._values.popleft()

    def waiting(self) -> list[T]:
        """Take everything that is there now."""
        values = list(self._values)
        self._values.clear()
        return values

    def _add(self, value: T) -> None:
        if len(self._values) < _LIMIT:
            self._values.append(value)
        else:
            self._overflow = True
        self._changed.set()

    def _end(self) -> None:
        self._closed = True
        self._changed.set()


class Newest(Generic[T]):
    """The newest of the values that another thread gives; those nobody took in time are dropped."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._value: T | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, value: T | None) -> None:
        """Replace the value; None is the end. Any thread may call."""
        self._post.call(self._set, value)

    async def get(self) -> T | None:
        """Wait for a value that was not taken yet and take it; None at the end."""
        while self._value is None and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        value, self._value = self._value, None
        return value

    def _set(self, value: T | None) -> None:
        self._value, self._ended = value, value is None
        self._changed.set()
