"""Contexts that come beside a session, by the build that they are for; either may come first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from sampan.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from sampan.build.index import Index

_ARRIVAL_S: Final = 60.0  # until the other one is there


class Uploads:
    """Belongs to the side loop. A context that no build has taken in time is closed."""

    def __init__(self) -> None:
        self._waiting: dict[str, Index] = {}
        self._changed = asyncio.Condition()

    async def lend(self, build_id: str, context: Index) -> None:
        """Keep a context until its build has taken it.

        Raises:
            Conflict: there is one already. InvalidArgument: its build does not come.
        """
        if build_id in self._waiting:
            context.close()
            raise Conflict(f"build {build_id} has a context already")
        self._waiting[build_id] = context
        async with self._changed:
            self._changed.notify_all()
            try:
                async with asyncio.timeout(_ARRIVAL_S):
                    await self._changed.wait_for(lambda: build_id not in self._waiting)
            except TimeoutError:
                raise InvalidArgument(f"no build {build_id} has asked for its context") from None
            finally:
                left = self._waiting.pop(build_id, None)
                if left is not None:
                    left.close()

    def of(self, build_id: str) -> Callable[[], Coroutine[Any, Any, Index]]:
        """Return what waits for a build's context, and takes it.

        Raises, when it is called:
            InvalidArgument: it does not come.
        """

        async def take() -> Index:
            async with self._changed:
                try:
                    async with asyncio.timeout(_ARRIVAL_S):
                        await self._changed.wait_for(lambda: build_id in self._waiting)
                except TimeoutError:
                    raise InvalidArgument(f"the client sends no context for build {build_id}") from None
                context = self._waiting.pop(build_id)
                self._changed.notify_all()
                return context

        return take
