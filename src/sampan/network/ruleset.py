"""The rules of the nftables table, and what is in its sets. docs/networks.md, "Rules".

Pure: messages of a transaction. Networks and ports are elements, so that the rules stay as they are however
many there are. What differs between IPv4 and IPv6 is in `Family`; their sets have its number at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from sampan.kernel import nftables as nft
from sampan.kernel.nftables import Transaction
from sampan.network.drivers import Place
from sampan.network.model import ISOLATED, NAT, ROUTED, UNPROTECTED, Endpoint, NetworkRecord

if TYPE_CHECKING:
    from sampan.kernel.nftables import Element

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}  # IANA protocol numbers
_DSTNAT, _SRCNAT, _RAW, _FILTER = -100, 100, -300, 0
_ACCEPT, _DROP = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
_NAME_WORDS: Final = 4  # registers that an interface's name takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """IPv4 or IPv6. kind: nft's type of an address; words: registers that one takes."""

    version: int
    number: int
    kind: int
    words: int
    source_at: int
    destination_at: int
    ping: int

    def set(self, name: str) -> str:
        """Return the name of this family's set."""
        return f"{name}{self.version}"

    def source(self, register: int = nft.R0) -> bytes:
        """Load the source address."""
        return nft.payload(1, self.source_at, 4 * self.words, register)

    def destination(self, register: int = nft.R0) -> bytes:
        """Load the destination address."""
        return nft.payload(1, self.destination_at, 4 * self.words, register)

    def is_loopback(self) -> bytes:
        """Match an address of the loopback in the first registers."""
        if self.version == 4:
            return nft.mask(bytes([255, 0, 0, 0])) + nft.compare(bytes([127, 0, 0, 0]))
        return nft.compare(bytes(15) + b"\1")

    def match(self) -> bytes:
        """Match packets of this family."""
        return nft.family(self.number)


FAMILIES: Final = (
    Family(version=4, number=nft.IPV4, kind=nft.ADDRESS, words=1, source_at=12, destination_at=16, ping=1),
    Family(version=6, number=nft.IPV6, kind=nft.ADDRESS6, words=4, source_at=8, destination_at=24, ping=58),
)


def add_everything(change: Transaction, *, loopback6: bool) -> None:
    """Make sets and chains with their rules; loopback6: published ports are reached at ::1, too."""
    _add_sets(change)
    _add_chains(change, loopback6=loopback6)


def _add_sets(change: Transaction) -> None:
    for name in ("own", "internal"):
        change.add_set(name, [nft.IFNAME], 16)
    change.add_set("open", [nft.IFNAME, nft.IFNAME], 32)  # (bridge, itself) where containers may meet
    change.add_set("closed", [nft.IFNAME, nft.IFNAME], 32)  # (bridge, itself) where they may not
    change.add_set("trusted", [nft.IFNAME, nft.IFNAME], 32)  # (an interface of the host, bridge)
    for one in FAMILIES:
        size = 4 * one.words
        target = [one.kind, nft.SERVICE]
        for name in ("nat", "routed", "unprotected"):
            change.add_set(one.set(name), [nft.IFNAME], 16)
        change.add_set(one.set("source"), [nft.IFNAME], 16, data=[one.kind], data_size=size)
        change.add_set(one.set("at"), [nft.IFNAME, one.kind], 16 + size)  # (bridge, address) of a container
        whole = [one.kind, nft.PROTOCOL, nft.SERVICE]
        change.add_set(one.set("ports_at"), whole, size + 8, data=target, data_size=size + 4)
        change.add_set(one.set("ports"), [nft.PROTOCOL, nft.SERVICE], 8, data=target, data_size=size + 4)
        for name in ("opened", "direct"):  # (bridge, address, protocol, port) at a container's own address
            change.add_set(one.set(name), [nft.IFNAME, *whole], 16 + size + 8)


def _add_chains(change: Transaction, *, loopback6: bool) -> None:
    change.add_chain("raw", hook=nft.PREROUTING, priority=_RAW)
    change.add_chain("prerouting", hook=nft.PREROUTING, priority=_DSTNAT, kind="nat")
    change.add_chain("output", hook=nft.OUTPUT, priority=_DSTNAT, kind="nat")
    change.add_chain("postrouting", hook=nft.POSTROUTING, priority=_SRCNAT, kind="nat")
    change.add_chain("forward", hook=nft.FORWARD, priority=_FILTER)
    change.add_chain("to_container")
    v4, v6 = FAMILIES  # the kernel itself drops ::1 that comes from elsewhere
    from_own = nft.incoming() + nft.is_in("own") + v4.match()
    for load in (v4.source, v4.destination):
        change.add_rule("raw", from_own, load(), v4.is_loopback(), _DROP)
    change.add_rule("prerouting", v4.match(), v4.destination(), v4.is_loopback(), nft.verdict(nft.RETURN))
    if not loopback6:  # answers would be turned to ::1 on the bridge and dropped behind it: refused at once
        change.add_rule("output", v6.match(), v6.destination(), v6.is_loopback(), nft.verdict(nft.RETURN))
    for chain in ("prerouting", "output"):
        for one in FAMILIES:
            change.add_rule(chain, _to_ports(one, at=True))
            change.add_rule(chain, _to_ports(one, at=False))
    for one in FAMILIES:
        _add_source_nat(change, one)
    _add_forward(change)


def _to_ports(one: Family, *, at: bool) -> bytes:
    """Send what comes to a published port, at one address of the host or at any, to its container."""
    free = nft.R0 + one.words if at else nft.R0
    key = (one.destination(nft.R0) if at else b"") + nft.protocol(free) + nft.port(free + 1)
    return (
        one.match()
        + nft.to_this_host()
        + key
        + nft.look_up(one.set("ports_at" if at else "ports"), key=nft.R0, into=nft.R0)
        + nft.dnat(address=nft.R0, to_port=nft.R0 + one.words, number=one.number)
    )


def _add_source_nat(change: Transaction, one: Family) -> None:
    """Back into the bridge it came from is told by the source address, not by the interface it came by.

    Where br_netfilter is on, a frame that stays on a bridge passes here, too, and comes by none.
    """
    to_own = nft.outgoing() + nft.is_in("own")
    change.add_rule("postrouting", to_own, one.match(), one.source(), one.is_loopback(), nft.masquerade())
    change.add_rule(
        "postrouting",
        one.match() + nft.connection(nft.STATUS, nft.DST_NAT),
        nft.outgoing() + one.source(nft.R0 + _NAME_WORDS) + nft.is_in(one.set("at")) + nft.masquerade(),
    )
    leaves = one.match() + nft.outgoing() + nft.is_in("own", inverted=1) + nft.incoming()
    change.add_rule(
        "postrouting",
        leaves,
        nft.look_up(one.set("source"), key=nft.R0, into=nft.R0),
        nft.snat(address=nft.R0, number=one.number),
    )
    change.add_rule("postrouting", leaves, nft.is_in(one.set("nat")), nft.masquerade())


def _add_forward(change: Transaction) -> None:
    """Internal networks meet nobody; the rest of what goes to containers is for `to_container` to say."""
    both = nft.incoming() + nft.outgoing(nft.R0 + _NAME_WORDS)
    change.add_rule("forward", both + nft.is_in("open") + _ACCEPT)
    change.add_rule("forward", both + nft.is_in("closed") + _DROP)
    for load in (nft.incoming(), nft.outgoing()):
        change.add_rule("forward", load + nft.is_in("internal") + _DROP)
    change.add_rule("forward", nft.outgoing() + nft.is_in("own") + nft.jump("to_container"))
    established = nft.connection(nft.STATE, nft.ESTABLISHED | nft.RELATED)
    change.add_rule("to_container", established + _ACCEPT)
    change.add_rule("to_container", nft.connection(nft.STATUS, nft.DST_NAT) + _ACCEPT)
    for one in FAMILIES:
        own_port = (
            nft.outgoing()
            + one.destination(nft.R0 + _NAME_WORDS)
            + nft.protocol(nft.R0 + _NAME_WORDS + one.words)
            + nft.port(nft.R0 + _NAME_WORDS + one.words + 1)
        )
        change.add_rule("to_container", one.match() + own_port + nft.is_in(one.set("opened")) + _ACCEPT)
        trusted = both + nft.is_in("trusted")
        change.add_rule(
            "to_container", one.match() + trusted + own_port + nft.is_in(one.set("direct")) + _ACCEPT
        )
        ping = nft.protocol(nft.R0) + nft.compare(bytes([one.ping]))
        change.add_rule(
            "to_container", one.match() + ping + nft.outgoing() + nft.is_in(one.set("routed")) + _ACCEPT
        )
    change.add_rule("to_container", nft.incoming() + nft.is_in("own") + _DROP)
    for one in FAMILIES:
        change.add_rule(
            "to_container", one.match() + nft.outgoing() + nft.is_in(one.set("unprotected")) + _ACCEPT
        )
    change.add_rule("to_container", _DROP)


def change_network(change: Transaction, network: NetworkRecord, *, adding: bool = True) -> None:
    """Put a network's bridge in the sets, or take it out."""
    act = change.add_elements if adding else change.delete_elements
    name = _name(network.bridge)
    for key in ("own", *(("internal",) if network.internal else ())):
        act(key, [(name, b"")])
    act("open" if network.icc else "closed", [(name + name, b"")])
    act("trusted", [(_name(one) + name, b"") for one in network.trusted])
    for one in FAMILIES if not network.internal else ():
        mode, source = network.mode(one.version), network.source4 if one.version == 4 else network.source6
        if mode in (NAT, UNPROTECTED) and network.masquerade:
            data = ip_address(source).packed if source else b""
            act(one.set("source" if source else "nat"), [(name, data)])
        if mode in (ROUTED, UNPROTECTED):
            act(one.set("routed" if mode == ROUTED else "unprotected"), [(name, b"")])


def change_endpoints(change: Transaction, places: Iterable[Place], *, adding: bool = True) -> None:
    """Put containers and their published ports in the sets and maps, or take them out."""
    elements: dict[str, list[Element]] = {}
    for network, endpoint in places:
        for one, text in zip(FAMILIES, (endpoint.address, endpoint.address6), strict=True):
            if text:
                _add_elements(elements, one, network, endpoint, ip_address(text).packed)
    act = change.add_elements if adding else change.delete_elements
    for name, some in elements.items():
        act(name, list(dict.fromkeys(some)))


def _add_elements(
    elements: dict[str, list[Element]],
    one: Family,
    network: NetworkRecord,
    endpoint: Endpoint,
    address: bytes,
) -> None:
    bridge = _name(network.bridge)
    elements.setdefault(one.set("at"), []).append((bridge + address, b""))
    for published in endpoint.published:
        if published.version != one.version:
            continue
        protocol = bytes([PROTOCOLS[published.protocol], 0, 0, 0])
        own_port = bridge + address + protocol + _service(published.port)
        if network.mode(one.version) == ROUTED:
            elements.setdefault(one.set("opened"), []).append((own_port, b""))
            continue
        if network.trusted:
            elements.setdefault(one.set("direct"), []).append((own_port, b""))
        key = protocol + _service(published.host_port)
        data = address + _service(published.port)
        host = ip_address(published.host_address)
        if host.is_unspecified:
            elements.setdefault(one.set("ports"), []).append((key, data))
        else:
            elements.setdefault(one.set("ports_at"), []).append((host.packed + key, data))


def _name(interface: str) -> bytes:
    return interface.encode().ljust(16, b"\0")


def _service(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\0\0"


def has_address(network: NetworkRecord, version: int) -> bool:
    """Tell whether a network's bridge has its gateway's address: not when it is isolated, or inhibited."""
    return network.mode(version) != ISOLATED and not (version == 4 and network.inhibit_ipv4)
