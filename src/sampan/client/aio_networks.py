"""Networks of a daemon, for asyncio: the names of `networks`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from sampan.client.aio_threads import Threads
from sampan.client.api import Client
from sampan.client.filters import Filters
from sampan.client.networks import Network
from sampan.client.values import Document, Pruned

Networks = list[Network]  # inside the class, `list` is the method


class AsyncNetworks:
    """`client.networks`. A `Network` itself blocks: what is done with one is here."""

    def __init__(self, client: Client, threads: Threads) -> None:
        self._sync = client.networks
        self._threads = threads

    async def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: str = "",
        gateway: str = "",
        internal: bool = False,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Network:
        """Make a network. subnet, gateway: chosen if not given. internal: nothing leads outside."""
        return await self._threads.run(
            self._sync.create,
            name,
            driver=driver,
            subnet=subnet,
            gateway=gateway,
            internal=internal,
            options=options,
            labels=labels,
        )

    @asynccontextmanager
    async def temporary(
        self, name: str, *, internal: bool = False, labels: Mapping[str, str] | None = None
    ) -> AsyncIterator[Network]:
        """Give a new network; behind the block it is removed."""
        network = await self.create(name, internal=internal, labels=labels)
        try:
            yield network
        finally:
            await self.remove(network, force=True)

    async def get(self, reference: str) -> Network:
        """Return the network of that name, id, or unique start of an id."""
        return await self._threads.run(self._sync.get, reference)

    async def list(self, *, filters: Filters | None = None) -> Networks:
        """Return networks."""
        return await self._threads.run(self._sync.list, filters=filters)

    async def prune(self, *, filters: Filters | None = None) -> Pruned:
        """Remove every network that no container is in, but the daemon's own."""
        return await self._threads.run(self._sync.prune, filters=filters)

    async def inspect(self, network: Network) -> Document:
        """Return everything the daemon knows about a network, its containers too."""
        return await self._threads.run(network.inspect)

    async def connect(
        self, network: Network, container: str, *, aliases: Sequence[str] = (), address: str = ""
    ) -> None:
        """Put a container in a network, now if it runs, and at each start."""
        await self._threads.run(network.connect, container, aliases=aliases, address=address)

    async def disconnect(self, network: Network, container: str, *, force: bool = False) -> None:
        """Take a container out of a network."""
        await self._threads.run(network.disconnect, container, force=force)

    async def remove(self, network: Network, *, force: bool = False) -> None:
        """Remove a network; force makes a missing one no error."""
        await self._threads.run(network.remove, force=force)
