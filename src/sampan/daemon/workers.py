"""Run the synchronous engine without blocking the event loop: two bounded thread pools.

A caller that is cancelled (its client vanished) leaves its thread to finish: a stop that has begun goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_QUICK: Final = 16  # look-ups and short writes
_SLOW: Final = 128  # calls that wait for a container or an archive; threads are made when first needed


class Workers:
    """Threads for engine calls. `quick` for those that only read or write records, `slow` for the rest."""

    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(_QUICK, "quick")
        self._slow = ThreadPoolExecutor(_SLOW, "slow")

    async def quick(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return function(*args, **kwargs), run in a thread; it must not wait for anything outside."""
        return await self._run(self._quick, partial(function, *args, **kwargs))

    async def slow(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return function(*args, **kwargs), run in a thread; it may wait."""
        return await self._run(self._slow, partial(function, *args, **kwargs))

    @staticmethod
    async def _run(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, call)

    def close(self) -> None:
        """Take no further calls; those that run are not waited for."""
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)


async def take(work: Awaitable[T], release: Callable[[T], object]) -> T:
    """Return what a thread's work gives; cancelled, release it as soon as it is there.

    A client may go while its subscription or open file is being made, and a thread cannot be cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(partial(_release, release))
        raise


def _release(release: Callable[[T], object], task: asyncio.Future[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        release(task.result())


async def to_end(work: Awaitable[T]) -> T:
    """Return what a thread's short work gives; cancelled, wait for it first: it uses what is closed next."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # nobody is left to be told
        raise
