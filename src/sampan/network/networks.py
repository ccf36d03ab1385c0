"""The networks of one engine and the containers in them. docs/networks.md.

```
 reserve: address, ports, row ──► connect: veth, addresses, maps ──► … ──► release: maps, ports, row, veth
     └──────────── a start that fails undoes by release ───────────────────────┘
```
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from sampan import log
from sampan.errors import Conflict, Forbidden, InvalidArgument, NotFound, SampanError
from sampan.lean import Undo
from sampan.network.addresses import Allocator, choose_subnet
from sampan.network.bridges import Bridges, Watch
from sampan.network.drivers import Driver, Place
from sampan.network.gateways import Interface, Interfaces, choose_gateway
from sampan.network.host_ports import HostPorts, PortTaken
from sampan.network.links import Links, Names
from sampan.network.model import BRIDGE, Endpoint, NetworkRecord, Pool, Published
from sampan.network.neighbours import Dropping
from sampan.network.rows import Rows
from sampan.store.database import Database

if TYPE_CHECKING:
    from _socket import socket


def _nobody(_fd: int, _handler: Callable[[], None]) -> None:
    """Watch nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortWish:
    """A port to publish. host_ports: any of these; an empty range: any free one."""

    protocol: str
    port: int
    host_address: str
    host_ports: range


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container wants of one network. address: the one asked for, or "". names: for DNS.

    hardware: a MAC address, interface: its name inside, "" for ours.
    """

    network: NetworkRecord
    container: str
    container_name: str
    address: str = ""
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    ports: tuple[PortWish, ...] = ()
    hardware: str = ""
    interface: str = ""
    gateway_priority: int = 0
    link_local: tuple[str, ...] = ()


@dataclass(slots=True)
class _Live:
    """A network and who is in it."""

    record: NetworkRecord
    allocator: Allocator
    endpoints: dict[str, Endpoint] = field(default_factory=dict)  # by container


class Networks:
    """All networks; any thread may call. Nothing touches the host before a container needs it."""

    def __init__(
        self, db: Database, names: Names, *, watch: Watch = _nobody, strict_firewall: bool = False
    ) -> None:
        """watch: has a function called when a descriptor is readable. strict_firewall: see `Neighbours`."""
        self._rows = Rows(db)
        self._names = names
        self._links = Links(names)
        self._bridges = Bridges(names, self._links, watch=watch, strict=strict_firewall)
        self._drivers: dict[str, Driver] = {BRIDGE: self._bridges}
        self._ports = HostPorts()
        self._lock = threading.RLock()
        self._live: dict[str, _Live] = {}
        self.on_change: Callable[[str], None] = _nothing  # called with a network's id
        for record in self._rows.networks():
            self._add(record)
        if not any(live.record.predefined for live in self._live.values()):
            self._make_default()

    def _add(self, record: NetworkRecord) -> _Live:
        live = _Live(record, Allocator(record.pool, name=record.name))
        self._live[record.id] = live
        return live

    def _make_default(self) -> None:
        record = NetworkRecord(
            id=hashlib.sha256(b"sampan network bridge").hexdigest(),
            name=BRIDGE,
            created_ns=time.time_ns(),
            bridge=self._names.bridge,
            pool=self.choose_pool(),
            predefined=True,
        )
        self._rows.save_network(record)
        self._add(record)

    # ---- the networks

    def choose_pool(self) -> Pool:
        """Return a free default subnet."""
        taken = [live.record.pool.network for live in self._live.values()]
        subnet = choose_subnet([*taken, *self._links.used_subnets()])
        return Pool(subnet=str(subnet), gateway=str(subnet[1]), chosen=True)

    def all(self) -> list[NetworkRecord]:
        """Return every network."""
        with self._lock:
            return [live.record for live in self._live.values()]

    def get(self, ref: str) -> NetworkRecord:
        """Return the network of an id, a name or the beginning of an id.

        Raises:
            NotFound: there is none. InvalidArgument: several ids begin so.
        """
        found = self.find(ref)
        if found is None:
            raise NotFound(f"network {ref} not found")
        return found

    def find(self, ref: str) -> NetworkRecord | None:
        """Return the network of a reference, None without.

        Raises:
            InvalidArgument: several ids begin so.
        """
        records = self.all()
        for record in records:
            if ref in (record.id, record.name):
                return record
        matches = [record for record in records if ref and record.id.startswith(ref)]
        if len(matches) > 1:
            raise InvalidArgument(f"network {ref} is ambiguous ({len(matches)} matches found on ID prefix)")
        return matches[0] if matches else None

    def create(self, record: NetworkRecord) -> None:
        """Add a network.

        Raises:
            Conflict: its name is in use. Forbidden: its subnet meets another's.
        """
        with self._lock:
            for live in self._live.values():
                if live.record.name == record.name:
                    raise Conflict(f"network with name {record.name} already exists")
                if live.record.bridge == record.bridge:
                    raise Forbidden(
                        f"cannot create network {record.id} ({record.bridge}): conflicts with network "
                        f"{live.record.id} ({live.record.bridge}): networks have same bridge name"
                    )
                if live.record.pool.network.overlaps(record.pool.network):
                    raise Forbidden(
                        "invalid pool request: Pool overlaps with other one on this address space",
                        hint=f"network {live.record.name} has {live.record.pool.subnet}",
                    )
            self._rows.save_network(record)
            self._add(record)

    def remove(self, network_id: str) -> NetworkRecord:
        """Remove a network without containers.

        Raises:
            Forbidden: it has some. NotFound: it has gone.
        """
        with self._lock:
            live = self._live.get(network_id)
            if live is None:
                raise NotFound(f"network {network_id} not found")
            if live.endpoints:
                users = ", ".join(
                    f'name:"{endpoint.name}" id:"{endpoint.id[:12]}"' for endpoint in live.endpoints.values()
                )
                raise Forbidden(
                    f"error while removing network: network {live.record.name} has active endpoints ({users})"
                )
            self._driver(live.record).remove(live.record)
            self._rows.delete_network(network_id)
            del self._live[network_id]
            return live.record

    # ---- the containers

    def endpoints(self, network_id: str) -> list[Endpoint]:
        """Return a network's endpoints."""
        with self._lock:
            live = self._live.get(network_id)
            return [] if live is None else list(live.endpoints.values())

    def of(self, container: str) -> list[Place]:
        """Return a container's networks and endpoints, in the order of their interfaces."""
        with self._lock:
            found = [
                (live.record, live.endpoints[container])
                for live in self._live.values()
                if container in live.endpoints
            ]
        return sorted(found, key=lambda pair: (pair[1].order, pair[1].interface))

    def endpoint(self, container: str, network: str) -> Endpoint | None:
        """Return a container's endpoint in the network of that name, None if it is not there."""
        with self._lock:
            for live in self._live.values():
                if live.record.name == network:
                    return live.endpoints.get(container)
        return None

    def reserve(self, wishes: Sequence[Wish]) -> list[Endpoint]:
        """Give a container its addresses and ports, all or none; they are its own until `release`.

        Raises:
            SampanError: an address or port is taken, or there is none.
        """
        with self._lock, Undo() as undo:
            interfaces = (
                Interfaces(endpoint for _, endpoint in self.of(wishes[0].container)) if wishes else None
            )
            made = [
                self._reserve(wish, interfaces.take(wish.interface), undo) for wish in wishes if interfaces
            ]
            with self._rows.transaction():
                for endpoint in made:
                    self._rows.insert_endpoint(endpoint)
            for endpoint in made:
                self._live[endpoint.network].endpoints[endpoint.container] = endpoint
            undo.commit()
        return made

    def _reserve(self, wish: Wish, interface: Interface, undo: Undo) -> Endpoint:
        live = self._live.get(wish.network.id)
        if live is None:
            raise NotFound(f"network {wish.network.name} not found")
        if wish.container in live.endpoints:
            raise Forbidden(
                f"endpoint with name {wish.container_name} already exists in network {live.record.name}"
            )
        if live.record.predefined and not live.endpoints and not self._driver(live.record).holds(live.record):
            self._keep_clear(live)
        _check_hardware(wish, live)
        asked = wish.address
        address = live.allocator.take_this(asked) if asked else live.allocator.take()
        undo.add(live.allocator.give_back, address)
        endpoint_id = secrets.token_hex(32)
        return Endpoint(
            id=endpoint_id,
            network=live.record.id,
            container=wish.container,
            name=wish.container_name,
            address=address,
            veth=self._names.veth(endpoint_id),
            interface=interface.name,
            order=interface.order,
            hardware=wish.hardware,
            gateway_priority=wish.gateway_priority,
            link_local=wish.link_local,
            names=wish.names,
            aliases=wish.aliases,
            published=tuple(self._take_ports(wish, endpoint_id, undo)),
        )

    def _keep_clear(self, live: _Live) -> None:
        """Choose another subnet for the default network when the host has got a route into the one it has."""
        if not live.record.pool.chosen:
            return
        used = self._links.used_subnets(but=live.record.bridge)
        if any(subnet.overlaps(live.record.pool.network) for subnet in used):
            live.record = msgspec.structs.replace(live.record, pool=self.choose_pool())
            live.allocator = Allocator(live.record.pool, name=live.record.name)
            self._rows.save_network(live.record)
            log.info("subnet of the default network changed", subnet=live.record.pool.subnet)

    def _take_ports(self, wish: Wish, endpoint_id: str, undo: Undo) -> Iterable[Published]:
        for port in wish.ports:
            try:
                taken = self._ports.take(
                    port.protocol, port.host_address, port.host_ports, owner=wish.container_name
                )
            except PortTaken as exc:
                raise SampanError(
                    "failed to set up container networking: driver failed programming external connectivity "
                    f"on endpoint {wish.container_name} ({endpoint_id}): {exc}",
                    hint=exc.hint,
                ) from exc
            published = Published(
                protocol=port.protocol, port=port.port, host_address=port.host_address, host_port=taken
            )
            undo.add(self._ports.give_back, published)
            yield published

    def connect(self, endpoints: Sequence[Endpoint], *, namespace: int, inside: socket) -> None:
        """Set up reserved endpoints; namespace: the container's, inside: a netlink socket in it.

        Raises:
            OSError, SampanError: the caller releases what was reserved.
        """
        for driver, places in self._by_driver(self._places(endpoints)):
            for record in {record.id: record for record, _ in places}.values():
                driver.prepare(record)
            driver.connect(places, namespace=namespace, inside=inside)
        if endpoints:
            self.route_outward(endpoints[0].container, inside=inside)
        for endpoint in endpoints:
            self.on_change(endpoint.network)

    def _places(self, endpoints: Iterable[Endpoint]) -> list[Place]:
        with self._lock:
            return [(self._live[one.network].record, one) for one in endpoints]

    def _by_driver(self, places: Iterable[Place]) -> list[tuple[Driver, list[Place]]]:
        found: dict[str, list[Place]] = {}
        for place in places:
            found.setdefault(place[0].driver, []).append(place)
        return [(self._drivers[name], some) for name, some in found.items()]

    def _driver(self, record: NetworkRecord) -> Driver:
        return self._drivers[record.driver]

    def release(self, container: str, *, only: str = "") -> list[Place]:
        """Take a container out of its networks, or out of one; return its places, for `remove_links`.

        Undoes as much of a start as was done.
        """
        with self._lock:
            places = [place for place in self.of(container) if only in ("", place[0].id)]
            self._release(places)
        for network, _ in places:
            self.on_change(network.id)
        return places

    def _release(self, places: Sequence[Place]) -> None:
        for driver, some in self._by_driver(places):
            driver.withdraw(some)
        with self._rows.transaction():
            for _, endpoint in places:
                self._rows.delete_endpoint(endpoint.id)
        for network, endpoint in places:
            live = self._live[network.id]
            live.endpoints.pop(endpoint.container, None)
            live.allocator.give_back(endpoint.address)
            for published in endpoint.published:
                self._ports.give_back(published)

    def route_outward(self, container: str, *, inside: socket) -> None:
        """Have a container's default route by the one of its networks that leads outside."""
        found = choose_gateway(self.of(container))
        if found is not None:
            self._driver(found[0]).route_outward(found, inside=inside)

    def rename(self, container: str, name: str, names: Mapping[str, tuple[str, ...]]) -> None:
        """Let a container's endpoints have other names; names: those for DNS, by network."""
        with self._lock, self._rows.transaction():
            for record, endpoint in self.of(container):
                changed = msgspec.structs.replace(
                    endpoint, name=name, names=names.get(record.id, endpoint.names)
                )
                self._rows.change_endpoint(changed)
                self._live[record.id].endpoints[container] = changed

    def remove_links(self, places: Iterable[Place], *, inside: socket | None = None) -> None:
        """Remove the interfaces of released places; inside: a netlink socket in a container that goes on."""
        for driver, some in self._by_driver(places):
            driver.remove_links(some, inside=inside)

    # ---- a return of sampand

    def recover(self, running: set[str]) -> None:
        """Take over what running containers have, drop the rest, write the rules anew, sweep interfaces."""
        with self._lock:
            kept = [endpoint for endpoint in self._rows.endpoints() if self._keep(endpoint, running)]
            places = self._places(kept)
            for name, driver in self._drivers.items():
                driver.recover([place for place in places if place[0].driver == name])

    def _keep(self, endpoint: Endpoint, running: set[str]) -> bool:
        live = self._live.get(endpoint.network)
        if live is None or endpoint.container not in running:
            self._rows.delete_endpoint(endpoint.id)
            return False
        live.allocator.take_this(endpoint.address)
        live.endpoints[endpoint.container] = endpoint
        for port in endpoint.published:
            ports = range(port.host_port, port.host_port + 1)
            try:
                self._ports.take(port.protocol, port.host_address, ports, owner=endpoint.name)
            except PortTaken as exc:
                log.warning("a published port has another user, too", container=endpoint.name, reason=exc)
        return True

    def droppings(self) -> list[Dropping]:
        """Return the forward chains of other firewalls that drop by policy while we have networks up."""
        return self._bridges.droppings()

    def close(self) -> None:
        """Let sockets go; containers keep their network."""
        self._ports.close()
        for driver in self._drivers.values():
            driver.close()
        self._links.close()


def _check_hardware(wish: Wish, live: _Live) -> None:
    for other in live.endpoints.values() if wish.hardware else ():
        if other.mac == wish.hardware:
            raise Forbidden(
                f"Address already in use: MAC address {wish.hardware} in network {live.record.name}",
                hint=f"container {other.name} has it",
            )


def _nothing(_network: str) -> None:
    """Nobody listens."""
