"""The event loop that BuildKit's connections live in: a thread of its own, started with the first of them.

One message of a context's listing costs about 0.1 ms of Python and comes by the ten thousand; in sampand's
own loop everybody else would wait for it. A file's content is written from here too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class SideLoop:
    """A running event loop in a daemon thread. It needs no end: its tasks end with their connections."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work there and return what it gives; cancelled, it is cancelled too."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
