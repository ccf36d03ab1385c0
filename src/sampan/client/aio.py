"""The typed client for asyncio: the same names, awaited.

Each call runs the synchronous client in a thread: one implementation, and a daemon on a unix socket answers
faster than a second protocol stack would be worth. The threads are the client's own, so that many waits do
not stand in the way of anybody else's. A cancelled stream or wait ends its request; any other cancelled call
is left to end by itself, as the daemon would not stop either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from sampan.client.aio_container import AsyncContainer
from sampan.client.aio_networks import AsyncNetworks
from sampan.client.aio_threads import AsyncDownload, Threads
from sampan.client.api import Client, JsonLines
from sampan.client.archives import Data
from sampan.client.filters import Filters, encode_filters
from sampan.client.images import Image
from sampan.client.options import ContainerOptions
from sampan.client.values import Document, Event, Finished, Pruned
from sampan.client.volumes import Volume

if TYPE_CHECKING:
    from sampan.client.tls import TlsFiles
    from sampan.fastjson import JsonValue

_DEFAULT = ContainerOptions()
_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncClient:
    """A daemon, as `Client` has it. `sync` is the client behind it."""

    def __init__(
        self,
        host: str = "",
        *,
        timeout_s: float | None = 60.0,
        tls: TlsFiles | None = None,
        max_calls: int = 512,
    ) -> None:
        """Choose a daemon; nothing is connected yet. max_calls: further calls wait for a thread.

        Raises:
            InvalidArgument: host is no address, or a file of tls is missing.
        """
        self.sync = Client(host, timeout_s=timeout_s, tls=tls)
        self._threads = Threads(max_calls)
        self.containers = AsyncContainers(self.sync, self._threads)
        self.images = AsyncImages(self.sync, self._threads)
        self.networks = AsyncNetworks(self.sync, self._threads)
        self.volumes = AsyncVolumes(self.sync, self._threads)

    async def ping(self) -> str:
        """Return the highest API version the daemon speaks."""
        return await self.run_in_thread(self.sync.ping)

    async def version(self) -> Document:
        """Return the answer of `/version`."""
        return await self.run_in_thread(self.sync.version)

    async def info(self) -> Document:
        """Return the answer of `/info`."""
        return await self.run_in_thread(self.sync.info)

    async def disk_usage(self) -> Document:
        """Return the answer of `/system/df`."""
        return await self.run_in_thread(self.sync.disk_usage)

    async def prune(
        self, *, images: bool = False, volumes: bool = False, filters: Filters | None = None
    ) -> Pruned:
        """Remove what nobody uses."""
        return await self.run_in_thread(self.sync.prune, images=images, volumes=volumes, filters=filters)

    async def events(
        self, *, since: str = "", until: str = "", filters: Filters | None = None
    ) -> AsyncIterator[Event]:
        """Yield events as they happen; leaving the loop ends the request."""
        query = [(key, value) for key, value in (("since", since), ("until", until)) if value]
        query += encode_filters(filters)
        lines = JsonLines()
        async with await self._threads.open(self.sync, "GET", "/events", query) as answer:
            async for piece in answer:
                for document in lines.feed(piece):
                    yield Event.read(document)

    async def call(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        *,
        body: JsonValue = None,
        patient: bool = False,
    ) -> JsonValue:
        """Make any request of the API and return its JSON answer."""
        return await self.run_in_thread(self.sync.call, method, path, query, body=body, patient=patient)

    async def run_in_thread(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Await any function that blocks, such as a method of the synchronous client's objects."""
        return await self._threads.run(function, *args, **kwargs)


class AsyncContainers:
    """`client.containers`."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._sync = client.containers
        self._threads = threads

    async def create(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> AsyncContainer:
        """Make a container; it does not run yet."""
        made = await self._threads.run(self._sync.create, image, command, options)
        return AsyncContainer(made, self._threads)

    async def start(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> AsyncContainer:
        """Make a container, start it, and leave it running."""
        made = await self._threads.run(self._sync.start, image, command, options)
        return AsyncContainer(made, self._threads)

    @asynccontextmanager
    async def running(
        self, image: str, command: Sequence[str] = (), options: ContainerOptions = _DEFAULT
    ) -> AsyncIterator[AsyncContainer]:
        """Give a running container; behind the block it is removed, with its anonymous volumes."""
        container = await self.start(image, command, options)
        try:
            yield container
        finally:
            await container.remove(force=True, volumes=True)

    async def run(
        self,
        image: str,
        command: Sequence[str] = (),
        options: ContainerOptions = _DEFAULT,
        *,
        stdin: bytes | None = None,
    ) -> Finished:
        """Make a container, run it to its end, and return what it wrote."""
        return await self._threads.run(self._sync.run, image, command, options, stdin=stdin)

    async def get(self, reference: str) -> AsyncContainer:
        """Return the container of that name, id, or unique start of an id."""
        return AsyncContainer(await self._threads.run(self._sync.get, reference), self._threads)

    async def list(
        self, *, all: bool = False, limit: int | None = None, filters: Filters | None = None
    ) -> list[AsyncContainer]:
        """Return containers, newest first."""
        found = await self._threads.run(self._sync.list, all=all, limit=limit, filters=filters)
        return [AsyncContainer(container, self._threads) for container in found]

    async def prune(self, *, filters: Filters | None = None) -> Pruned:
        """Remove every container that does not run."""
        return await self._threads.run(self._sync.prune, filters=filters)


Images = list[Image]  # inside the class, `list` is the method
Volumes = list[Volume]
Lines = list[str]
Documents = list[Document]


class AsyncImages:
    """`client.images`."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._sync = client.images
        self._threads = threads

    async def list(self, *, all: bool = False, filters: Filters | None = None) -> Images:
        """Return images, newest first."""
        return await self._threads.run(self._sync.list, all=all, filters=filters)

    async def get(self, reference: str) -> Image:
        """Return the image of that name or id."""
        return await self._threads.run(self._sync.get, reference)

    async def inspect(self, reference: str) -> Document:
        """Return everything the daemon knows about an image."""
        return await self._threads.run(self._sync.inspect, reference)

    async def history(self, reference: str) -> Documents:
        """Return the steps an image was made by, newest first."""
        return await self._threads.run(self._sync.history, reference)

    async def load(self, archive: Data) -> Lines:
        """Load images from an archive, whole or in pieces; return the daemon's lines."""
        return await self._threads.run(self._sync.load, archive)

    async def save(self, references: Sequence[str]) -> AsyncDownload:
        """Return an archive of images, as `load` takes it; the caller closes it."""
        return AsyncDownload(await self._threads.run(self._sync.save, references), self._threads)

    async def pull(self, reference: str, *, platform: str = "") -> Image:
        """Fetch an image from its registry and return it."""
        return await self._threads.run(self._sync.pull, reference, platform=platform)

    async def import_rootfs(
        self, archive: Data, *, repository: str = "", tag: str = "", changes: Iterable[str] = ()
    ) -> str:
        """Make an image from a tar archive of a root file system; return its id."""
        return await self._threads.run(
            self._sync.import_rootfs, archive, repository=repository, tag=tag, changes=changes
        )

    async def bootstrap(self, name: str, *, suite: str = "") -> Lines:
        """Have sampand make a base image from the distribution's packages."""
        return await self._threads.run(self._sync.bootstrap, name, suite=suite)

    async def tag(self, reference: str, *, repository: str, tag: str = "latest") -> None:
        """Give an image another name."""
        await self._threads.run(self._sync.tag, reference, repository=repository, tag=tag)

    async def remove(self, reference: str, *, force: bool = False) -> Documents:
        """Remove a name, and the image with its last one; return what was untagged and deleted."""
        return await self._threads.run(self._sync.remove, reference, force=force)

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:
        """Remove every image without a name that no container uses; all: those with names too."""
        return await self._threads.run(self._sync.prune, all=all, filters=filters)


class AsyncVolumes:
    """`client.volumes`. A `Volume` itself blocks: `remove` and `inspect` of one are here."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._sync = client.volumes
        self._threads = threads

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        driver_options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one of that name; without a name the daemon chooses one."""
        return await self._threads.run(
            self._sync.create, name, driver=driver, driver_options=driver_options, labels=labels
        )

    @asynccontextmanager
    async def temporary(
        self,
        *,
        driver: str = "local",
        driver_options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Volume]:
        """Give a new volume; behind the block it is removed."""
        volume = await self.create(driver=driver, driver_options=driver_options, labels=labels)
        try:
            yield volume
        finally:
            await self.remove(volume, force=True)

    async def get(self, name: str) -> Volume:
        """Return the volume of that name."""
        return await self._threads.run(self._sync.get, name)

    async def list(self, *, filters: Filters | None = None) -> Volumes:
        """Return volumes by name."""
        return await self._threads.run(self._sync.list, filters=filters)

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:
        """Remove every anonymous volume that no container uses; all: those with names too."""
        return await self._threads.run(self._sync.prune, all=all, filters=filters)

    async def inspect(self, volume: Volume) -> Document:
        """Return everything the daemon knows about a volume."""
        return await self._threads.run(volume.inspect)

    async def remove(self, volume: Volume, *, force: bool = False) -> None:
        """Remove a volume and what it holds; force makes a missing one no error."""
        await self._threads.run(volume.remove, force=force)
