"""What a container gets before anything is set up: addresses, interface names, ports of the host.

Nothing here touches an interface or a rule. Not thread-safe: `Networks` holds its lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from sampan.errors import Forbidden, InvalidArgument, SampanError
from sampan.lean import Undo
from sampan.network.addresses import Allocators
from sampan.network.drivers import Place
from sampan.network.gateways import Interface, choose_gateway
from sampan.network.host_ports import HostPorts, PortTaken
from sampan.network.model import PUBLISHING, ROUTED, Endpoint, NetworkRecord, Published


@dataclass(frozen=True, slots=True, kw_only=True)
class PortWish:
    """A port to publish. host_ports: any of these; an empty range: any free one.

    host_addresses: at each of them, all at the same port. optional: of these those whose family the container
    has no way outside by are left out.
    """

    protocol: str
    port: int
    host_addresses: tuple[str, ...]
    host_ports: range
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container wants of one network. address, address6: those asked for, or "". names: for DNS.

    hardware: a MAC address, interface: its name inside, "" for ours.
    """

    network: NetworkRecord
    container: str
    container_name: str
    address: str = ""
    address6: str = ""
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    hardware: str = ""
    interface: str = ""
    gateway_priority: int = 0
    link_local: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()


@dataclass(slots=True)
class Live:
    """A network and who is in it: endpoints by container."""

    record: NetworkRecord
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    allocators: dict[int, Allocators] = field(default_factory=dict)  # by 4 and 6, as the network has them

    def __post_init__(self) -> None:
        self.set_pools()

    def set_pools(self) -> None:
        """Begin to give addresses of the record's subnets."""
        self.allocators = {
            version: Allocators(pools, name=self.record.name)
            for version in (4, 6)
            if (pools := self.record.pools_of(version))
        }

    def take_back(self, endpoint: Endpoint) -> None:
        """Let an endpoint have the addresses it had before sampand was away."""
        for allocator, address in self._given(endpoint):
            allocator.take_this(address)
        self.endpoints[endpoint.container] = endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """Take an endpoint's addresses back."""
        if self.endpoints.pop(endpoint.container, None) is not None:
            for allocator, address in self._given(endpoint):
                allocator.give_back(address)

    def _given(self, endpoint: Endpoint) -> list[tuple[Allocators, str]]:
        both = ((4, endpoint.address), (6, endpoint.address6))
        return [
            (self.allocators[version], address) for version, address in both if version in self.allocators
        ]


def make_endpoint(live: Live, wish: Wish, interface: Interface, *, veth_prefix: str, undo: Undo) -> Endpoint:
    """Give a container its addresses in a network; undo: takes them back.

    Raises:
        SampanError: one that was asked for is taken, or there is none left.
    """
    if wish.container in live.endpoints:
        raise Forbidden(
            f"endpoint with name {wish.container_name} already exists in network {live.record.name}"
        )
    _check_families(wish, live.record)
    _check_hardware(wish, live)
    addresses = {4: wish.address, 6: wish.address6}  # as asked for, where a driver gives them itself
    for version, allocator in live.allocators.items():
        asked = addresses[version]
        address = allocator.take_this(asked) if asked else allocator.take()
        undo.add(allocator.give_back, address)
        addresses[version] = address
    endpoint_id = secrets.token_hex(32)
    return Endpoint(
        id=endpoint_id,
        network=live.record.id,
        container=wish.container,
        name=wish.container_name,
        address=addresses[4],
        address6=addresses[6],
        veth=f"{veth_prefix}{endpoint_id[:9]}",
        interface=interface.name,
        order=interface.order,
        hardware=wish.hardware,
        gateway_priority=wish.gateway_priority,
        link_local=wish.link_local,
        sysctls=wish.sysctls,
        names=wish.names,
        aliases=wish.aliases,
    )


def _check_families(wish: Wish, network: NetworkRecord) -> None:
    if network.config_only:
        raise Forbidden(
            "cannot create endpoint on configuration-only network",
            hint=f"make a network with --config-from {network.name}",
        )
    for version, asked, flag in (
        (4, wish.address, "without --ipv4=false"),
        (6, wish.address6, "with --ipv6"),
    ):
        if asked and not network.leads(version):
            raise InvalidArgument(
                f"IPv{version} address {asked} was asked for, but network {network.name} has no IPv{version}",
                hint=f"make it {flag}",
            )
    if wish.link_local and not network.leads(4):
        raise InvalidArgument(f"network {network.name} has no IPv4, so no link-local addresses of it")


def _check_hardware(wish: Wish, live: Live) -> None:
    for other in live.endpoints.values() if wish.hardware else ():
        if other.mac == wish.hardware:
            raise Forbidden(
                f"Address already in use: MAC address {wish.hardware} in network {live.record.name}",
                hint=f"container {other.name} has it",
            )


def publish(places: Sequence[Place], wishes: Iterable[PortWish], ports: HostPorts, undo: Undo) -> list[Place]:
    """Give a container its ports of the host: those of IPv4 and IPv6 at the places that lead outside by each.

    Raises:
        SampanError: one is taken.
    """
    gateways = {version: choose_gateway(places, version) for version in (4, 6)}
    if not any(gateways.values()):
        return list(places)  # on internal networks alone there is nothing to publish
    published: dict[str, list[Published]] = {}
    for wish in wishes:
        for endpoint, one in _take(wish, gateways, ports, undo):
            published.setdefault(endpoint.id, []).append(one)
    return [
        (network, msgspec.structs.replace(endpoint, published=(*endpoint.published, *published[endpoint.id])))
        if endpoint.id in published
        else (network, endpoint)
        for network, endpoint in places
    ]


def _take(
    wish: PortWish, gateways: dict[int, Place | None], ports: HostPorts, undo: Undo
) -> list[tuple[Endpoint, Published]]:
    bound: list[tuple[str, Endpoint]] = []
    routed: list[tuple[str, Endpoint]] = []
    for address in wish.host_addresses:
        place = gateways[6 if ":" in address else 4]
        if place is None and wish.optional:
            continue
        if place is None:
            raise InvalidArgument(
                f"cannot publish port {wish.port}/{wish.protocol} at {address}: none of the container's "
                f"networks leads outside by IPv{6 if ':' in address else 4}",
                hint="make a network with --ipv6" if ":" in address else "",
            )
        is_routed = place[0].mode(6 if ":" in address else 4) == ROUTED
        (routed if is_routed else bound).append((address, place[1]))
    found = [(address, endpoint, 0) for address, endpoint in routed]
    if bound:
        endpoint = bound[0][1]
        try:
            port = ports.take(
                wish.protocol, [address for address, _ in bound], wish.host_ports, owner=endpoint.name
            )
        except PortTaken as exc:
            raise SampanError(
                "failed to set up container networking: driver failed programming external connectivity "
                f"on endpoint {endpoint.name} ({endpoint.id}): {exc}",
                hint=exc.hint,
            ) from exc
        found += [(address, endpoint, port) for address, endpoint in bound]
    made = [
        (
            endpoint,
            Published(protocol=wish.protocol, port=wish.port, host_address=address, host_port=port),
        )
        for address, endpoint, port in found
    ]
    for _, one in made:
        if one.host_port:
            undo.add(ports.give_back, one)
    return made


def gained_ports(
    places: Sequence[Place], network: NetworkRecord, wishes: Iterable[PortWish]
) -> list[PortWish]:
    """Return what a container publishes in a network it is about to join: of families that it had no way by.

    places: where it is. A port of the host that it has for the other family is wished for again.
    """
    if network.internal or network.driver not in PUBLISHING:
        return []
    gained = [one for one in (4, 6) if network.leads(one) and choose_gateway(places, one) is None]
    had = [one for _, endpoint in places for one in endpoint.published]
    found = []
    for wish in wishes:
        addresses = tuple(one for one in wish.host_addresses if (6 if ":" in one else 4) in gained)
        same = [one.host_port for one in had if (one.protocol, one.port) == (wish.protocol, wish.port)]
        ports = [port for port in same if port and (port in wish.host_ports or not wish.host_ports)]
        if addresses:
            numbers = range(ports[0], ports[0] + 1) if ports else wish.host_ports
            found.append(replace(wish, host_addresses=addresses, host_ports=numbers))
    return found


def move_ports(places: Sequence[Place], *, leaving: str = "") -> list[tuple[Place, Place]]:
    """Return (old, new) places of a container whose ports belong elsewhere since its networks changed.

    A port leads to the network by which answers leave. Routed networks are left as they are: what is open
    there has no port of the host. leaving: a network that the container is about to leave.
    """
    wanted: dict[str, list[Published]] = {endpoint.id: [] for _, endpoint in places}
    staying = [place for place in places if place[0].id != leaving]
    gateways = {version: choose_gateway(staying, version) for version in (4, 6)}
    for network, endpoint in places:
        for one in endpoint.published:
            gateway = gateways[one.version]
            stays = gateway is None or ROUTED in (network.mode(one.version), gateway[0].mode(one.version))
            wanted[endpoint.id if stays or gateway is None else gateway[1].id].append(one)
    return [
        (
            (network, endpoint),
            (network, msgspec.structs.replace(endpoint, published=tuple(wanted[endpoint.id]))),
        )
        for network, endpoint in places
        if set(wanted[endpoint.id]) != set(endpoint.published)
    ]
