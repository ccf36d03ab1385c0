"""Threads that blocking calls of the asyncio client run in, and streams read through them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import ParamSpec, Protocol, TypeVar

from sampan.client.api import Client
from sampan.client.archives import Download

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Abortable(Protocol):
    """A stream whose blocked read can be ended from another thread."""

    def read_some(self) -> bytes:
        """Return the next piece, nothing at the end."""
        ...

    def abort(self) -> None:
        """Make a blocked read return."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Threads:
    """A pool that grows as it is used, up to a limit."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, "sampan")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Await function. Cancelled, it goes on in its thread; what it returns is dropped."""
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, partial(function, *args, **kwargs)
        )

    async def read(self, stream: Abortable, function: Callable[[], _T]) -> _T:
        """Await a function that reads from stream; cancelled, let its thread go at once."""
        try:
            return await self.run(function)
        except asyncio.CancelledError:
            stream.abort()
            raise

    async def open(
        self, client: Client, method: str, path: str, query: list[tuple[str, str]]
    ) -> AsyncDownload:
        """Await the head of an answer that is a stream."""
        response = await self.run(client.open_stream, method, path, query, patient=True)
        return AsyncDownload(Download(response), self)


class AsyncDownload:
    """An answer that is a file or a stream: `async for` its pieces, within `async with`."""

    def __init__(self, value: Download, threads: Threads) -> None:
        self.value = value
        self._threads = threads

    async def __aenter__(self) -> AsyncDownload:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._threads.read(self.value, self.value.read_some):
            yield piece

    async def read_all(self) -> bytes:
        """Return all that is left."""
        return await self._threads.read(self.value, self.value.read_all)

    def close(self) -> None:
        """Give up the rest."""
        with contextlib.suppress(OSError):
            self.value.abort()
        self.value.close()
