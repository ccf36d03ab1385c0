"""The networks of one engine and the containers in them. docs/networks.md.

```
 reserve: address, ports, row ──► connect: veth, addresses, maps ──► … ──► release: maps, ports, row, veth
     └──────────── a start that fails undoes by release ───────────────────────┘
```
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import msgspec

from sampan import log
from sampan.errors import Conflict, Forbidden, InvalidArgument, NotFound
from sampan.lean import Undo
from sampan.network.addresses import DEFAULT_BASES, Base, check_apart, choose_subnet, choose_subnet6
from sampan.network.bridges import Bridges
from sampan.network.default_network import DefaultWishes, new_default, shape_default
from sampan.network.drivers import Driver, Place
from sampan.network.gateways import Interfaces, choose_gateway
from sampan.network.host_ports import HostPorts, PortTaken
from sampan.network.keeping import Watch
from sampan.network.links import Links, Names
from sampan.network.model import (
    BRIDGE,
    CNI,
    IPVLAN,
    MACVLAN,
    VXLAN,
    Endpoint,
    NetworkRecord,
    Pool,
    Pool6,
    Published,
)
from sampan.network.neighbours import Dropping
from sampan.network.reservations import Live, PortWish, Wish, make_endpoint, move_ports, publish
from sampan.network.rows import Rows
from sampan.store.database import Database

if TYPE_CHECKING:
    from _socket import socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Cni:
    """Where CNI is: conflists, plugins, and what is written down of interfaces."""

    lists: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    notes: str = ""


_NO_CNI = Cni()
_USUAL = DefaultWishes()


def _nobody(_fd: int, _handler: Callable[[], None]) -> None:
    """Watch nothing."""


class Networks:
    """All networks; any thread may call. Nothing touches the host before a container needs it."""

    def __init__(
        self,
        db: Database,
        names: Names,
        *,
        watch: Watch = _nobody,
        strict_firewall: bool = False,
        cni: Cni = _NO_CNI,
        default: DefaultWishes = _USUAL,
        bases: Sequence[Base] = DEFAULT_BASES,
    ) -> None:
        """watch: has a function called when a descriptor is readable. strict_firewall: see `Neighbours`.

        default: how the network `bridge` is to be. bases: where networks get subnets from that name none.
        """
        self._rows = Rows(db)
        self._names = names
        self._links = Links(names)
        self._bridges = Bridges(
            names, self._links, watch=watch, strict=strict_firewall, on_lost=lambda place: self.on_lost(place)
        )
        self._drivers: dict[str, Driver] = {BRIDGE: self._bridges, VXLAN: self._bridges}
        self._cni = cni
        self._default, self._bases = default, tuple(bases)
        self._ports = HostPorts()
        self._lock = threading.RLock()
        self._live: dict[str, Live] = {}
        self.on_change: Callable[[str], None] = _nothing  # called with a network's id
        self.on_lost: Callable[[Place], None] = _lost  # called with a place whose interface somebody removed
        for record in self._rows.networks():
            self._add(record)
        if not any(live.record.predefined for live in self._live.values()):
            self._make_default()

    def _add(self, record: NetworkRecord) -> None:
        self._live[record.id] = Live(record)

    def _make_default(self) -> None:
        record = shape_default(new_default(self._names.bridge), self._default, self)
        self._rows.save_network(record)
        self._add(record)

    def _shape_default(self) -> None:
        """Have the default network as the settings want it now, unless containers are in it."""
        live = next(live for live in self._live.values() if live.record.predefined)
        wanted = shape_default(live.record, self._default, self)
        if wanted == live.record:
            return
        if live.endpoints:
            log.warning(
                "the default network stays as it is while containers run in it", subnet=_subnets(live.record)
            )
            return
        self._links.remove(live.record.bridge)
        self._change_default(live, wanted)

    def _change_default(self, live: Live, record: NetworkRecord) -> None:
        live.record = record
        live.set_pools()
        self._rows.save_network(record)
        log.info("the default network has changed", subnet=_subnets(record))

    # ---- the networks

    def choose_pool(self) -> Pool:
        """Return a free default subnet."""
        pools = [pool for live in self._live.values() for pool in live.record.pools]
        taken = [pool.network for pool in pools if isinstance(pool, Pool)]
        subnet = choose_subnet([*taken, *self._links.used_subnets()], self._bases)
        return Pool(subnet=str(subnet), gateway=str(subnet[1]), chosen=True)

    def choose_pool6(self) -> Pool6:
        """Return a free IPv6 subnet of this machine's own."""
        pools = [pool for live in self._live.values() for pool in live.record.pools]
        taken = [pool.network for pool in pools if isinstance(pool, Pool6)]
        subnet = choose_subnet6(self._names.ula_seed(), [*taken, *self._links.used_subnets6()], self._bases)
        return Pool6(subnet=str(subnet), gateway=str(subnet[1]), chosen=True)

    @property
    def table(self) -> str:
        """The name of the nftables table."""
        return self._names.table

    def read_cni(self, name: str) -> dict[str, object]:
        """Return the CNI network of that name, from the folders of conflists.

        Raises:
            NotFound: there is none. InvalidArgument: it cannot be read.
        """
        from sampan.network.cni.chain import find_network_list
        from sampan.spec.cni import parse_network_list

        path, raw = find_network_list(self._cni.lists, name)
        found = msgspec.to_builtins(parse_network_list(raw, origin=path))
        assert isinstance(found, dict)
        return found

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
                if record.bridge and live.record.bridge == record.bridge:
                    raise Forbidden(
                        f"cannot create network {record.id} ({record.bridge}): conflicts with network "
                        f"{live.record.id} ({live.record.bridge}): networks have same bridge name"
                    )
                for wanted, taken in product(record.pools, live.record.pools):
                    check_apart(wanted, taken, owner=f"network {live.record.name}")
            if record.driver in (BRIDGE, VXLAN):
                self._check_host(record)
            if not record.config_only:
                others = [live.record for live in self._live.values()]
                self._driver(record).check(record, others)
            self._rows.save_network(record)
            self._add(record)

    def _check_host(self, record: NetworkRecord) -> None:
        """Refuse a subnet that the host is in itself: one of the two could not be reached any more.

        But for a bridge of the host that is to be the network's.
        """
        self._links.check_bridge(record.bridge)
        for pool in record.pools:
            taken = self._links.find_connected(pool.network, but=record.bridge)
            if taken:
                raise Forbidden(
                    f"subnet {pool.subnet} overlaps {taken} of the host", hint="choose another --subnet"
                )

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
            if not live.record.config_only:
                self._driver(live.record).remove(live.record)
            elif any(one.record.config_from == live.record.name for one in self._live.values()):
                raise Forbidden(f'configuration network "{live.record.name}" is in use')
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

    def reserve(self, wishes: Sequence[Wish], ports: Sequence[PortWish] = ()) -> list[Endpoint]:
        """Give a container its addresses and ports, all or none; they are its own until `release`.

        Raises:
            SampanError: an address or port is taken, or there is none.
        """
        if not wishes:
            return []
        with self._lock, Undo() as undo:
            interfaces = Interfaces(endpoint for _, endpoint in self.of(wishes[0].container))
            places = publish(
                [self._reserve(wish, interfaces, undo) for wish in wishes], ports, self._ports, undo
            )
            with self._rows.transaction():
                for _, endpoint in places:
                    self._rows.insert_endpoint(endpoint)
            for _, endpoint in places:
                self._live[endpoint.network].endpoints[endpoint.container] = endpoint
            undo.commit()
        return [endpoint for _, endpoint in places]

    def _reserve(self, wish: Wish, interfaces: Interfaces, undo: Undo) -> Place:
        live = self._live.get(wish.network.id)
        if live is None:
            raise NotFound(f"network {wish.network.name} not found")
        if live.record.predefined and not live.endpoints and not self._driver(live.record).holds(live.record):
            self._keep_clear(live)
        interface = interfaces.take(wish.interface, prefix=live.record.interface_prefix)
        prefix = self._names.veth_prefix
        return live.record, make_endpoint(live, wish, interface, veth_prefix=prefix, undo=undo)

    def _keep_clear(self, live: Live) -> None:
        """Choose another subnet for the default network when the host has got a route into the one it has."""
        pool = live.record.pool
        if pool is None or not pool.chosen:
            return
        used = self._links.used_subnets(but=live.record.bridge)
        if any(subnet.overlaps(pool.network) for subnet in used):
            self._change_default(live, msgspec.structs.replace(live.record, pool=self.choose_pool()))

    def connect(self, endpoints: Sequence[Endpoint], *, namespace: int, inside: socket) -> list[Endpoint]:
        """Set up reserved endpoints, and return them as they are then.

        namespace: the container's, inside: a netlink socket in it.

        Raises:
            OSError, SampanError: the caller releases what was reserved.
        """
        for driver, places in self._by_driver(self._places(endpoints)):
            for record in {record.id: record for record, _ in places}.values():
                driver.prepare(record)
            self._keep_changes(places, driver.connect(places, namespace=namespace, inside=inside))
        if endpoints:
            self.route_outward(endpoints[0].container, inside=inside)
        for endpoint in endpoints:
            self.on_change(endpoint.network)
        with self._lock:
            return [self._live[one.network].endpoints[one.container] for one in endpoints]

    def _keep_changes(self, places: Sequence[Place], now: Sequence[Endpoint]) -> None:
        """Remember the addresses that a driver has given itself."""
        changed = [new for (_, old), new in zip(places, now, strict=True) if new is not old]
        if changed:
            with self._lock, self._rows.transaction():
                for endpoint in changed:
                    self._rows.change_endpoint(endpoint)
                    self._live[endpoint.network].endpoints[endpoint.container] = endpoint

    def _places(self, endpoints: Iterable[Endpoint]) -> list[Place]:
        with self._lock:
            return [(self._live[one.network].record, one) for one in endpoints]

    def _by_driver(self, places: Iterable[Place]) -> list[tuple[Driver, list[Place]]]:
        found: dict[str, list[Place]] = {}
        for place in places:
            found.setdefault(place[0].driver, []).append(place)
        return [(self._driver(some[0][0]), some) for some in found.values()]

    def _driver(self, record: NetworkRecord) -> Driver:
        with self._lock:
            found = self._drivers.get(record.driver)
            if found is None:
                found = self._drivers[record.driver] = self._open_driver(record.driver)
            return found

    def _open_driver(self, name: str) -> Driver:
        """Return a driver that is needed only where somebody uses it."""
        if name in (MACVLAN, IPVLAN):
            from sampan.network.sublinks import Sublinks

            return Sublinks(self._names)
        from sampan.network.cni.driver import CniNetworks

        assert name == CNI
        return CniNetworks(self._cni.notes, self._cni.programs)

    def release(self, container: str, *, only: str = "") -> list[Place]:
        """Take a container out of its networks, or out of one; return its places, for `remove_links`.

        Undoes as much of a start as was done.
        """
        with self._lock:
            if only:
                self._move_ports(container, leaving=only)
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
            self._live[network.id].forget(endpoint)
            for published in endpoint.published:
                self._ports.give_back(published)

    def reconnect(self, place: Place, *, namespace: int, inside: socket) -> None:
        """Make a place's interface again, as it was.

        Raises:
            NotFound: the container has left that network meanwhile.
        """
        network, endpoint = place
        if not any(one.id == endpoint.id for _, one in self.of(endpoint.container)):
            raise NotFound(f"container {endpoint.name} is not in network {network.name}")
        self._driver(network).connect([place], namespace=namespace, inside=inside)
        self.route_outward(endpoint.container, inside=inside)

    def route_outward(self, container: str, *, inside: socket) -> None:
        """Have a container's default routes, and its ports, by those of its networks that lead outside."""
        places = self.of(container)
        for version in (4, 6):
            found = choose_gateway(places, version)
            if found is not None:
                self._driver(found[0]).route_outward(found, version=version, inside=inside)
        self._move_ports(container)

    def change_ports(self, container: str, *, add: Sequence[PortWish], remove: Iterable[Published]) -> None:
        """Publish ports of a running container and take others back, at one stroke.

        Raises:
            SampanError: a port is taken; nothing has changed.
        """
        gone = set(remove)
        with self._lock, Undo() as undo:
            old = self.of(container)
            left = [
                (
                    network,
                    msgspec.structs.replace(
                        endpoint, published=tuple(one for one in endpoint.published if one not in gone)
                    ),
                )
                for network, endpoint in old
            ]
            new = publish(left, add, self._ports, undo)
            self._change_places(old, new)
            undo.commit()
            for one in gone:
                self._ports.give_back(one)

    def _change_places(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        changed = [
            pair for pair in zip(old, new, strict=True) if pair[0][1].published != pair[1][1].published
        ]
        for driver, some in self._by_driver(place for place, _ in changed):
            known = {network.id for network, _ in some}
            driver.change(some, [place for _, place in changed if place[0].id in known])
        with self._rows.transaction():
            for _, (_, endpoint) in changed:
                self._rows.change_endpoint(endpoint)
        for _, (network, endpoint) in changed:
            self._live[network.id].endpoints[endpoint.container] = endpoint

    def _move_ports(self, container: str, *, leaving: str = "") -> None:
        with self._lock:
            moves = move_ports(self.of(container), leaving=leaving)
            if not moves:
                return
            with self._rows.transaction():
                for _, (_, endpoint) in moves:
                    self._rows.change_endpoint(endpoint)
            for _, (network, endpoint) in moves:
                self._live[network.id].endpoints[container] = endpoint
        by_driver = self._by_driver(new for _, new in moves)
        for driver, new in by_driver:
            known = {network.id for network, _ in new}
            driver.change([old for old, _ in moves if old[0].id in known], new)

    def rename(self, container: str, name: str, names: Mapping[str, tuple[str, ...]]) -> None:
        """Let a container's endpoints have other names; names: those for DNS, by network."""
        with self._lock, self._rows.transaction():
            for record, endpoint in self.of(container):
                changed = msgspec.structs.replace(
                    endpoint, name=name, names=names.get(record.id, endpoint.names)
                )
                self._rows.change_endpoint(changed)
                self._live[record.id].endpoints[container] = changed

    def end(self, places: Iterable[Place]) -> list[Place]:
        """Cut off released places whose namespace ends; return those to call `remove_links` for later."""
        return [place for driver, some in self._by_driver(places) for place in driver.end(some)]

    def remove_links(
        self, places: Iterable[Place], *, inside: socket | None = None, namespace: int = -1
    ) -> None:
        """Remove the interfaces of released places; inside, namespace: of a container that goes on."""
        for driver, some in self._by_driver(places):
            driver.remove_links(some, inside=inside, namespace=namespace)

    # ---- a return of sampand

    def recover(self, running: set[str]) -> None:
        """Take over what running containers have, drop the rest, write the rules anew, sweep interfaces."""
        with self._lock:
            kept = [endpoint for endpoint in self._rows.endpoints() if self._keep(endpoint, running)]
            self._shape_default()
            places = self._places(kept)
            if os.path.isdir(self._cni.notes) and os.listdir(self._cni.notes):
                self._drivers.setdefault(CNI, self._open_driver(CNI))
            driven = [self._driver(record) for record in self.all() if not record.config_only]
            for driver in dict.fromkeys((*self._drivers.values(), *driven)):
                driver.recover([place for place in places if self._driver(place[0]) is driver])

    def _keep(self, endpoint: Endpoint, running: set[str]) -> bool:
        live = self._live.get(endpoint.network)
        if live is None or endpoint.container not in running:
            self._rows.delete_endpoint(endpoint.id)
            return False
        live.take_back(endpoint)
        for port in [one for one in endpoint.published if one.host_port]:
            ports = range(port.host_port, port.host_port + 1)
            try:
                self._ports.take(port.protocol, [port.host_address], ports, owner=endpoint.name)
            except PortTaken as exc:
                log.warning("a published port has another user, too", container=endpoint.name, reason=exc)
        return True

    def droppings(self) -> list[Dropping]:
        """Return the forward chains of other firewalls that drop by policy while we have networks up."""
        return self._bridges.droppings()

    def close(self) -> None:
        """Let sockets go; containers keep their network."""
        self._ports.close()
        for driver in dict.fromkeys(self._drivers.values()):
            driver.close()
        self._links.close()


def _subnets(record: NetworkRecord) -> str:
    return ", ".join(pool.subnet for pool in record.pools)


def _lost(place: Place) -> None:
    log.warning("somebody removed the interface of a container", container=place[1].name)


def _nothing(_network: str) -> None:
    """Nobody listens."""
