"""One request as the endpoints see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeVar

from aiohttp import web

from sampan.registry.server.access import Grant
from sampan.registry.server.errors import RegistryError
from sampan.registry.server.names import Target
from sampan.registry.server.sending import Sender
from sampan.registry.server.shelves import Shelves
from sampan.registry.server.upstream import Upstream
from sampan.store.store import Store

P = ParamSpec("P")
T = TypeVar("T")

_MAX_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is asked, by whom, and what it may touch. store None: nothing can be written."""

    request: web.Request
    target: Target
    grant: Grant
    shelves: Shelves
    store: Store | None
    sender: Sender
    upstream: Upstream | None = None  # this registry is a cache of it

    @property
    def repository(self) -> str:
        """The repository that the path names."""
        return self.target.repository

    def query(self, name: str) -> str:
        """Return a parameter of the query, "" where it is absent."""
        return self.request.query.get(name, "")

    def writable(self) -> Store:
        """Return the store to write to.

        Raises:
            RegistryError: this registry is read-only.
        """
        if self.upstream is not None:
            raise RegistryError("DENIED", f"this registry is a cache of {self.upstream.domain}: push there")
        if self.store is None:
            raise RegistryError("DENIED", "this registry is read-only")
        return self.store

    async def ask(self, call: Callable[Concatenate[Upstream, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of upstream in one of its threads."""
        assert self.upstream is not None  # the caller has seen that
        work = partial(call, self.upstream, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self.upstream.pool, work)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something that reads or writes files in a thread."""
        return await asyncio.to_thread(call, *args, **kwargs)


def page_size(exchange: Exchange) -> int:
    """Read `n`: how many items are wanted at most; -1: all.

    Raises:
        RegistryError: it is no number, or negative.
    """
    text = exchange.query("n")
    if not text:
        return -1
    if not (text.isascii() and text.isdigit()):
        raise RegistryError("PAGINATION_NUMBER_INVALID", f"n is {text[:20]!r}, which is no number of items")
    return min(int(text), _MAX_PAGE)
