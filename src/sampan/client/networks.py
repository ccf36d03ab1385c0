"""Networks of a daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan.client.filters import Filters, encode_filters
from sampan.client.http import quote
from sampan.client.values import Document, Pruned, as_document, as_documents, texts
from sampan.errors import NotFound

if TYPE_CHECKING:
    from sampan.client.api import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network as it was when it was asked for. Containers are meant by name or id."""

    id: str
    name: str
    driver: str
    internal: bool
    subnets: tuple[str, ...]
    labels: Mapping[str, str]
    client: Client = field(repr=False, compare=False)

    def inspect(self) -> Document:
        """Return everything the daemon knows about it, its containers too."""
        return as_document(self.client.call("GET", f"/networks/{quote(self.id)}"))

    def connect(self, container: str, *, aliases: Sequence[str] = (), address: str = "") -> None:
        """Put a container in it, now if it runs, and at each start.

        aliases: further names that the others find it by. address: an IPv4 address of a subnet.

        Raises:
            NotFound: there is no such container. Forbidden: it is there already, or cannot be in a network.
        """
        endpoint: Document = {"Aliases": list(aliases)}
        if address:
            endpoint["IPAMConfig"] = {"IPv4Address": address}
        body: Document = {"Container": container, "EndpointConfig": endpoint}
        self.client.call("POST", f"/networks/{quote(self.id)}/connect", body=body)

    def disconnect(self, container: str, *, force: bool = False) -> None:
        """Take a container out of it.

        Raises:
            NotFound: there is no such container. Forbidden: it is not in it.
        """
        body: Document = {"Container": container, "Force": force}
        self.client.call("POST", f"/networks/{quote(self.id)}/disconnect", body=body)

    def remove(self, *, force: bool = False) -> None:
        """Remove it; force makes a missing one no error.

        Raises:
            Forbidden: a container is in it, or it is one of the daemon's own.
        """
        try:
            self.client.call("DELETE", f"/networks/{quote(self.id)}")
        except NotFound:
            if not force:
                raise


class Networks:
    """`client.networks`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
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
        """Make a network. subnet, gateway: without them the daemon chooses. internal: nothing leads outside.

        Raises:
            Conflict: there is one of that name. Forbidden: the subnet meets another one.
        """
        body: Document = {
            "Name": name,
            "Driver": driver,
            "Internal": internal,
            "Options": dict(options or {}),
            "Labels": dict(labels or {}),
        }
        pool: Document = {key: text for key, text in (("Subnet", subnet), ("Gateway", gateway)) if text}
        if pool:
            body["IPAM"] = {"Config": [pool]}
        made = as_document(self._client.call("POST", "/networks/create", body=body))
        return self.get(str(made["Id"]))

    @contextmanager
    def temporary(
        self, name: str, *, internal: bool = False, labels: Mapping[str, str] | None = None
    ) -> Iterator[Network]:
        """Give a new network; behind the block it is removed."""
        network = self.create(name, internal=internal, labels=labels)
        try:
            yield network
        finally:
            network.remove(force=True)

    def get(self, reference: str) -> Network:
        """Return the network of that name, id, or unique start of an id.

        Raises:
            NotFound: there is none.
        """
        return self._network(as_document(self._client.call("GET", f"/networks/{quote(reference)}")))

    def list(self, *, filters: Filters | None = None) -> list[Network]:
        """Return networks."""
        found = self._client.call("GET", "/networks", encode_filters(filters))
        return [self._network(item) for item in as_documents(found)]

    def prune(self, *, filters: Filters | None = None) -> Pruned:
        """Remove every network that no container is in, but the daemon's own."""
        answer = self._client.call("POST", "/networks/prune", encode_filters(filters), patient=True)
        return Pruned.read(as_document(answer), "NetworksDeleted")

    def _network(self, item: Document) -> Network:
        ipam = item.get("IPAM")
        pools = as_documents(ipam.get("Config")) if isinstance(ipam, dict) else []
        return Network(
            client=self._client,
            id=str(item["Id"]),
            name=str(item["Name"]),
            driver=str(item.get("Driver")),
            internal=item.get("Internal") is True,
            subnets=tuple(str(pool["Subnet"]) for pool in pools if pool.get("Subnet")),
            labels=texts(item.get("Labels")),
        )
