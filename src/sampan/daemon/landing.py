"""Bring values from the engine's threads into the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
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
    """Values in order, from any thread, for one task of the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._values: deque[T] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._overflow = False

    def put(self, value: T) -> None:
        """Add a value."""
        _post(self._loop, self._add, value)

    def close(self) -> None:
        """Add the end: `get` returns None once everything before it was taken."""
        _post(self._loop, self._end)

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
            raise Unavailable(f"the client did not read {_LIMIT} messages in time")
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
