"""The typed client for asyncio: the same names, awaited.

Each call runs the synchronous client in a thread of the loop's default pool: one implementation, and a
daemon on a unix socket answers faster than a second protocol stack would be worth. A cancelled stream ends
its request; a cancelled call is left to end by itself, as the daemon would not stop either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import ParamSpec, TypeVar

from sampan.client.api import Client, Document, Filters
from sampan.client.containers import Container, Finished
from sampan.client.http import Response
from sampan.client.images import Image
from sampan.client.options import ContainerOptions
from sampan.client.streams import Output, split_output

_DEFAULT = ContainerOptions()
_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncClient:
    """A daemon, as `Client` has it."""

    def __init__(self, host: str = "") -> None:
        """Choose a daemon; nothing is connected yet.

        Raises:
            InvalidArgument: host is no address.
        """
        self.sync = Client(host)
        self.containers = AsyncContainers(self.sync)
        self.images = AsyncImages(self.sync)

    async def ping(self) -> str:
        """Return the highest API version the daemon speaks."""
        return await asyncio.to_thread(self.sync.ping)

    async def version(self) -> Document:
        """Return the answer of `/version`."""
        return await asyncio.to_thread(self.sync.version)

    async def info(self) -> Document:
        """Return the answer of `/info`."""
        return await asyncio.to_thread(self.sync.info)

    async def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Await any method of the synchronous client, its containers or images."""
        return await asyncio.to_thread(function, *args, **kwargs)


class AsyncContainers:
    """`client.containers`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> AsyncContainer:
        """Make a container; it does not run yet."""
        return AsyncContainer(
            await asyncio.to_thread(self._client.containers.create, image, command, options)
        )

    async def start(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> AsyncContainer:
        """Make a container, start it, and leave it running."""
        return AsyncContainer(await asyncio.to_thread(self._client.containers.start, image, command, options))

    async def run(
        self,
        image: str,
        command: Sequence[str] = (),
        options: ContainerOptions = _DEFAULT,
        *,
        stdin: bytes | None = None,
    ) -> Finished:
        """Make a container, run it to its end, and return what it wrote."""
        return await asyncio.to_thread(self._client.containers.run, image, command, options, stdin=stdin)

    async def get(self, reference: str) -> AsyncContainer:
        """Return the container of that name, id, or unique start of an id."""
        return AsyncContainer(await asyncio.to_thread(self._client.containers.get, reference))

    async def list(self, *, all: bool = False, filters: Filters | None = None) -> list[AsyncContainer]:
        """Return containers, newest first."""
        found = await asyncio.to_thread(self._client.containers.list, all=all, filters=filters)
        return [AsyncContainer(container) for container in found]


class AsyncContainer:
    """One container; `value` holds its id, name, image, state and labels."""

    def __init__(self, value: Container) -> None:
        self.value = value

    async def inspect(self) -> Document:
        """Return everything the daemon knows about it."""
        return await asyncio.to_thread(self.value.inspect)

    async def start(self) -> None:
        """Start it."""
        await asyncio.to_thread(self.value.start)

    async def stop(self, *, timeout_s: int | None = None) -> None:
        """Ask it to end, and end it after timeout_s."""
        await asyncio.to_thread(self.value.stop, timeout_s=timeout_s)

    async def kill(self, signal: str = "KILL") -> None:
        """Send a signal to its first process."""
        await asyncio.to_thread(self.value.kill, signal)

    async def wait(self) -> int:
        """Wait until it does not run, and return its exit code."""
        return await asyncio.to_thread(self.value.wait)

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it."""
        await asyncio.to_thread(self.value.remove, force=force, volumes=volumes)

    async def exec(self, command: Sequence[str], *, stdin: bytes | None = None, user: str = "") -> Finished:
        """Run a command inside and return what it wrote."""
        return await asyncio.to_thread(self.value.exec, command, stdin=stdin, user=user)

    async def logs(self, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[Output]:
        """Yield what it has written, and with follow what it writes, until it stops."""
        response = await asyncio.to_thread(self.value.open_logs, follow=follow, tail=tail)
        split = split_output(response)
        try:
            while piece := await _read(response):
                for output in split(piece):
                    yield output
        finally:
            response.connection.abort()
            response.close()


class AsyncImages:
    """`client.images`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self, *, filters: Filters | None = None) -> list[Image]:
        """Return images, newest first."""
        return await asyncio.to_thread(self._client.images.list, filters=filters)

    async def inspect(self, reference: str) -> Document:
        """Return everything the daemon knows about an image."""
        return await asyncio.to_thread(self._client.images.inspect, reference)


async def _read(response: Response) -> bytes:
    """Await the next piece; cancelled, let the thread that reads it go at once."""
    try:
        return await asyncio.to_thread(response.read_some)
    except asyncio.CancelledError:
        response.connection.abort()
        raise
