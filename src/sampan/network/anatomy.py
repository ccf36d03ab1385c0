"""What the kernel has of a network, read back: bridge, pairs, routes, and the way of a packet to a port."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import msgspec

from sampan.kernel import netsocket, nftables_read
from sampan.kernel import nftables as nft
from sampan.kernel.rtnetlink_read import Link, read_addresses, read_links, read_routes
from sampan.network.model import Endpoint, NetworkRecord, Published
from sampan.network.ruleset import PROTOCOLS

if TYPE_CHECKING:
    from _socket import socket

    from sampan.kernel.nftables_read import Chain

_FAMILIES: Final = {nft.IPV4: "ip", nft.IPV6: "ip6", nft.INET: "inet"}
_WAY: Final = ((nft.PREROUTING, "prerouting"), (nft.FORWARD, "forward"), (nft.POSTROUTING, "postrouting"))
_POLICIES: Final = ("drop", "accept")


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """An interface as the kernel has it. Received and Sent: bytes, as its owner sees them."""

    Name: str
    Up: bool
    MTU: int
    MacAddress: str
    Addresses: list[str]
    Routes: list[str]
    Received: int
    Sent: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a packet's way. Found: what should be there is there."""

    Hook: str
    Place: str
    Text: str
    Found: bool = True


class PortWay(msgspec.Struct, frozen=True, kw_only=True):
    """The way to a published port."""

    Published: str
    Container: str
    Steps: list[Step]


def read_interfaces(sock: socket, names: Sequence[str]) -> dict[str, Interface]:
    """Return those of a namespace's interfaces that are there, by name; sock: a netlink socket in it."""
    wanted = {link.index: link for link in read_links(sock) if link.name in names}
    addresses, routes = read_addresses(sock), read_routes(sock)
    return {link.name: _show(link, addresses=addresses, routes=routes) for link in wanted.values()}


def _show(
    link: Link, *, addresses: Sequence[tuple[int, str]], routes: Sequence[tuple[int, str]]
) -> Interface:
    return Interface(
        Name=link.name,
        Up=link.up,
        MTU=link.mtu,
        MacAddress=link.mac,
        Addresses=[text for index, text in addresses if index == link.index],
        Routes=[text for index, text in routes if index == link.index],
        Received=link.received_bytes,
        Sent=link.sent_bytes,
    )


def read_port_way(table: str, network: NetworkRecord, endpoint: Endpoint, published: Published) -> PortWay:
    """Return the stages that a packet from outside passes on its way to a published port."""
    with closing(nft.open_firewall()) as sock:
        chains = [one for one in nftables_read.chains(sock) if one.hook >= 0]
        steps: list[Step] = []
        for hook, name in _WAY:
            for chain in sorted(_of(chains, hook, published.version), key=lambda one: one.priority):
                steps.append(_chain_step(sock, chain, name, table, endpoint, published))
            if hook == nft.PREROUTING:
                address = endpoint.address6 if published.version == 6 else endpoint.address
                steps.append(Step(Hook="route", Place=network.bridge, Text=f"to {address}"))
    host = f"[{published.host_address}]" if published.version == 6 else published.host_address
    return PortWay(
        Published=f"{host}:{published.host_port}/{published.protocol}", Container=endpoint.name, Steps=steps
    )


def _of(chains: Sequence[Chain], hook: int, version: int) -> list[Chain]:
    families = (nft.INET, nft.IPV6 if version == 6 else nft.IPV4)
    return [one for one in chains if one.hook == hook and one.family in families]


def _chain_step(
    sock: socket, chain: Chain, hook: str, table: str, endpoint: Endpoint, published: Published
) -> Step:
    place = f"{_FAMILIES[chain.family]} {chain.table} {chain.name}"
    priority = f"{hook} {chain.priority}"
    if chain.table == table and chain.name == "prerouting":
        text = _mapping(sock, table, endpoint, published)
        return Step(Hook=priority, Place=place, Text=text or "no map leads there", Found=bool(text))
    rules = nftables_read.rules(sock, family=chain.family, table=chain.table, chain=chain.name)
    count = f"{len(rules)} rule{'s' if len(rules) != 1 else ''}, else {_POLICIES[chain.policy]}"
    if chain.table == table and chain.name == "forward":
        leads = any(one.jump == "to_container" for one in rules)
        text = "to_container: what came by a map is accepted" if leads else "nothing leads to to_container"
        return Step(Hook=priority, Place=place, Text=text, Found=leads)
    return Step(Hook=priority, Place=place, Text=count)


def _mapping(sock: socket, table: str, endpoint: Endpoint, published: Published) -> str:
    """Return the element of a map that leads to a port, as nft prints it; "" without."""
    version = published.version
    service = published.host_port.to_bytes(2, "big") + b"\0\0"
    key = bytes([PROTOCOLS[published.protocol], 0, 0, 0]) + service
    everywhere = published.host_address in ("0.0.0.0", "::")  # noqa: S104
    name = f"{'ports' if everywhere else 'ports_at'}{version}"
    if not everywhere:
        key = ip_address(published.host_address).packed + key
    size = 16 if version == 6 else 4
    for found, data in nftables_read.elements(sock, family=nft.INET, table=table, name=name):
        if found == key:
            address = ip_address(data[:size])
            port = int.from_bytes(data[size : size + 2], "big")
            to = f"[{address}]:{port}" if version == 6 else f"{address}:{port}"
            return f"map {name}: {published.protocol} {published.host_port} → {to}"
    return ""


def read_host(names: Sequence[str]) -> dict[str, Interface]:
    """Return the host's interfaces of these names."""
    with closing(netsocket.open_socket()) as sock:
        return read_interfaces(sock, names)
