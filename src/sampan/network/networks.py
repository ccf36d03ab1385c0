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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

import msgspec

from sampan import log
from sampan.errors import Conflict, Forbidden, InvalidArgument, NotFound, SampanError
from sampan.lean import Undo
from sampan.network.addresses import Allocator, choose_subnet
from sampan.network.firewall import Firewall
from sampan.network.host_ports import HostPorts, PortTaken
from sampan.network.links import Links, Names
from sampan.network.model import Endpoint, NetworkRecord, Pool, Published
from sampan.network.rows import Rows
from sampan.store.database import Database

if TYPE_CHECKING:
    from _socket import socket

BRIDGE: Final = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortWish:
    """A port to publish. host_ports: any of these; an empty range: any free one."""

    protocol: str
    port: int
    host_address: str
    host_ports: range


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container wants of one network. address: the one asked for, or "". names: for DNS."""

    network: NetworkRecord
    container: str
    container_name: str
    address: str = ""
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    ports: tuple[PortWish, ...] = ()


@dataclass(slots=True)
class _Live:
    """A network and who is in it."""

    record: NetworkRecord
    allocator: Allocator
    endpoints: dict[str, Endpoint] = field(default_factory=dict)  # by container
    in_firewall: bool = False


class Networks:
    """All bridge networks; any thread may call. Nothing touches the host before a container needs it."""

    def __init__(self, db: Database, names: Names) -> None:
        self._rows = Rows(db)
        self._names = names
        self._links = Links(names)
        self._firewall = Firewall(names.table)
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
            if live.in_firewall:
                self._firewall.remove_network(live.record)
                self._links.remove(live.record.bridge)
            self._rows.delete_network(network_id)
            del self._live[network_id]
            return live.record

    # ---- the containers

    def endpoints(self, network_id: str) -> list[Endpoint]:
        """Return a network's endpoints."""
        with self._lock:
            live = self._live.get(network_id)
            return [] if live is None else list(live.endpoints.values())

    def of(self, container: str) -> list[tuple[NetworkRecord, Endpoint]]:
        """Return a container's networks and endpoints, in the order of their interfaces."""
        with self._lock:
            found = [
                (live.record, live.endpoints[container])
                for live in self._live.values()
                if container in live.endpoints
            ]
        return sorted(found, key=lambda pair: int(pair[1].interface.removeprefix("eth") or 0))

    def reserve(self, wishes: Sequence[Wish]) -> list[Endpoint]:
        """Give a container its addresses and ports, all or none; they are its own until `release`.

        Raises:
            SampanError: an address or port is taken, or there is none.
        """
        with self._lock, Undo() as undo:
            places = self._free_places(wishes[0].container) if wishes else iter(())
            made = [self._reserve(wish, place, undo) for wish, place in zip(wishes, places, strict=False)]
            with self._rows.transaction():
                for endpoint in made:
                    self._rows.insert_endpoint(endpoint)
            for endpoint in made:
                self._live[endpoint.network].endpoints[endpoint.container] = endpoint
            undo.commit()
        return made

    def _free_places(self, container: str) -> Iterator[int]:
        """Yield the numbers of interfaces that a container does not have."""
        taken = {endpoint.interface for _, endpoint in self.of(container)}
        return (place for place in count() if f"eth{place}" not in taken)

    def _reserve(self, wish: Wish, place: int, undo: Undo) -> Endpoint:
        live = self._live.get(wish.network.id)
        if live is None:
            raise NotFound(f"network {wish.network.name} not found")
        if wish.container in live.endpoints:
            raise Forbidden(
                f"endpoint with name {wish.container_name} already exists in network {live.record.name}"
            )
        if live.record.predefined and not live.endpoints and not live.in_firewall:
            self._keep_clear(live)
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
            interface=f"eth{place}",
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
        with self._lock:
            for endpoint in endpoints:
                self._ready(self._live[endpoint.network])
        for endpoint in endpoints:
            record = self._live[endpoint.network].record
            self._links.connect(endpoint, record, namespace=namespace, inside=inside)
        if endpoints:
            self.route_outward(endpoints[0].container, inside=inside)
        self._firewall.add_endpoints(self._with_bridges(endpoints))
        for endpoint in endpoints:
            self.on_change(endpoint.network)

    def _with_bridges(self, endpoints: Iterable[Endpoint]) -> list[tuple[str, Endpoint]]:
        return [(self._live[one.network].record.bridge, one) for one in endpoints]

    def _ready(self, live: _Live) -> None:
        """Have a network's bridge and the rules."""
        self._links.ensure_bridge(live.record)
        if live.in_firewall:
            return
        if not self._firewall.written:
            self._firewall.write((), ())
        self._firewall.add_network(live.record)
        live.in_firewall = True

    def release(self, container: str, *, only: str = "") -> list[Endpoint]:
        """Take a container out of its networks, or out of one; return the endpoints, for `remove_links`.

        Undoes as much of a start as was done.
        """
        with self._lock:
            endpoints = [endpoint for record, endpoint in self.of(container) if only in ("", record.id)]
            self._release(endpoints)
        for endpoint in endpoints:
            self.on_change(endpoint.network)
        return endpoints

    def _release(self, endpoints: Sequence[Endpoint]) -> None:
        if self._firewall.written:
            try:
                self._firewall.remove_endpoints(self._with_bridges(endpoints))
            except FileNotFoundError:  # never published, or the table was flushed
                log.debug("no rules to withdraw")
        with self._rows.transaction():
            for endpoint in endpoints:
                self._rows.delete_endpoint(endpoint.id)
        for endpoint in endpoints:
            live = self._live[endpoint.network]
            live.endpoints.pop(endpoint.container, None)
            live.allocator.give_back(endpoint.address)
            for published in endpoint.published:
                self._ports.give_back(published)

    def route_outward(self, container: str, *, inside: socket) -> None:
        """Have a container's default route by the first of its networks that leads outside."""
        for record, endpoint in self.of(container):
            if not record.internal:
                self._links.route_outward(endpoint, record, inside=inside)
                return

    def remove_links(self, endpoints: Iterable[Endpoint]) -> None:
        """Remove the host's ends; 10 ms each, since the kernel waits for all who may still use one."""
        for endpoint in endpoints:
            self._links.remove(endpoint.veth)

    # ---- a return of sampand

    def recover(self, running: set[str]) -> None:
        """Take over what running containers have, drop the rest, write the rules anew, sweep interfaces."""
        with self._lock:
            kept = [endpoint for endpoint in self._rows.endpoints() if self._keep(endpoint, running)]
            used = {endpoint.network for endpoint in kept}
            for network_id in used:
                live = self._live[network_id]
                self._links.ensure_bridge(live.record)
                live.in_firewall = True
            if used:
                self._firewall.write([self._live[one].record for one in used], kept)
            else:
                self._firewall.delete()
            self._links.sweep(endpoint.veth for endpoint in kept)

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

    def close(self) -> None:
        """Let sockets go; containers keep their network."""
        self._ports.close()
        self._firewall.close()
        self._links.close()


def _nothing(_network: str) -> None:
    """Nobody listens."""
