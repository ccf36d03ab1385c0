"""The table of names: what is known on each network, and what a view sees of it. Lean."""

from __future__ import annotations

from sampan.errors import NotFound
from sampan.network.dns.addresses import Subnet, parse_address, parse_subnet
from sampan.network.dns.wire import make_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.network.dns.model import Endpoint, Network, View


class Place:
    """One endpoint, its addresses as bytes."""

    __slots__ = ("addresses", "container", "names", "title")

    def __init__(self, endpoint: Endpoint) -> None:
        self.container = endpoint.container
        self.title = endpoint.names[0] if endpoint.names else endpoint.container[:12]
        self.names = frozenset(make_key(name) for name in endpoint.names)
        self.addresses = tuple(parse_address(text) for text in endpoint.addresses)


class _NetworkTable:
    def __init__(self) -> None:
        self.title = ""
        self.name = ""
        self.subnets: tuple[Subnet, ...] = ()
        self.places: dict[str, Place] = {}  # by container
        self.names: dict[str, dict[str, Place]] = {}  # by name, then container
        self.reverse: dict[bytes, Place] = {}


class Zone:
    """All names. `generation` changes with every change, so that whoever kept an answer can tell."""

    def __init__(self) -> None:
        self.generation = 0
        self._networks: dict[str, _NetworkTable] = {}

    def put_network(self, network: Network) -> None:
        """Make a network known, or change its name and subnets.

        Raises:
            InvalidArgument: a subnet is none.
        """
        subnets = tuple(parse_subnet(text) for text in network.subnets)
        table = self._networks.setdefault(network.id, _NetworkTable())
        table.title, table.name, table.subnets = network.name, make_key(network.name), subnets
        self.generation += 1

    def drop_network(self, network: str) -> None:
        """Forget a network and what is on it."""
        self._networks.pop(network, None)
        self.generation += 1

    def publish(self, endpoint: Endpoint) -> None:
        """Put an endpoint on its network in place of what was known of it.

        Raises:
            NotFound: the network is not known.
            InvalidArgument: an address is none.
        """
        table = self._networks.get(endpoint.network)
        if table is None:
            raise NotFound(f"network {endpoint.network} is not known to DNS")
        place = Place(endpoint)
        _remove(table, endpoint.container)
        table.places[place.container] = place
        for name in place.names:
            table.names.setdefault(name, {})[place.container] = place
        for address in place.addresses:
            table.reverse[address] = place
        self.generation += 1

    def withdraw(self, network: str, container: str) -> None:
        """Forget an endpoint; nothing happens if it is not known."""
        table = self._networks.get(network)
        if table is not None:
            _remove(table, container)
            self.generation += 1

    def keys(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the networks, and the endpoints as (network, container)."""
        endpoints = [(key, container) for key, table in self._networks.items() for container in table.places]
        return list(self._networks), endpoints

    def find(self, view: View, name: str) -> list[Place] | None:
        """Return the endpoints a name (a key) means in a view, None if it is not known there."""
        for link in view.links:
            if make_key(link.alias) == name:
                found = self._find_on(link.network, make_key(link.target))
                if found is not None:
                    return found
        for network in view.networks:
            found = self._find_on(network, name)
            if found is not None:
                return found
        return self._find_with_network(view, name)

    def _find_on(self, network: str, name: str) -> list[Place] | None:
        table = self._networks.get(network)
        found = table.names.get(name) if table is not None else None
        return None if found is None else list(found.values())

    def _find_with_network(self, view: View, name: str) -> list[Place] | None:
        """Find `name.network`; either part may have dots."""
        for network, table in self._tables(view):
            if name.endswith("." + table.name):
                found = self._find_on(network, name[: -len(table.name) - 1])
                if found is not None:
                    return found
        return None

    def find_address(self, view: View, address: bytes) -> str | None:
        """Return `container.network` for an address; "" if it is of a subnet in view but has no owner."""
        ours = False
        for _, table in self._tables(view):
            place = table.reverse.get(address)
            if place is not None:
                return f"{place.title}.{table.title}"
            ours = ours or any(subnet.holds(address) for subnet in table.subnets)
        return "" if ours else None

    def own_addresses(self, view: View) -> list[bytes]:
        """Return the addresses of the container whose view it is."""
        places = (table.places.get(view.container) for _, table in self._tables(view))
        return [address for place in places if place is not None for address in place.addresses]

    def _tables(self, view: View) -> Iterator[tuple[str, _NetworkTable]]:
        for network in view.networks:
            table = self._networks.get(network)
            if table is not None:
                yield network, table


def _remove(table: _NetworkTable, container: str) -> None:
    place = table.places.pop(container, None)
    if place is None:
        return
    for name in place.names:
        owners = table.names[name]
        del owners[container]
        if not owners:
            del table.names[name]
    for address in place.addresses:
        if table.reverse.get(address) is place:
            del table.reverse[address]
