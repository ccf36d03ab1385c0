"""The port of a bridge by which a network reaches other hosts: driver `vxlan` (RFC 7348), static peers.

Everything else of such a network is a bridge's: pairs, rules, published ports (`bridges.py`).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sampan.errors import Forbidden, InvalidArgument, SampanError, Unsupported
from sampan.kernel import netsocket, rtnetlink, rtnetlink_kinds
from sampan.network.model import VXLAN, NetworkRecord

OPTIONS: Final = ("vxlan_id", "peers", "local", "port")
MTU: Final = 1450  # a usual wire's 1500 less headers over IPv4 (RFC 7348, section 5)
_PORT: Final = 4789  # IANA
_MAX_ID: Final = (1 << 24) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What the options of a network say. local: the address that packets come from, None for any."""

    number: int
    peers: tuple[IPv4Address | IPv6Address, ...]
    local: IPv4Address | IPv6Address | None
    port: int


def read_overlay(options: dict[str, str]) -> Overlay:
    """Read the options of a vxlan network.

    Raises:
        InvalidArgument: one is wrong, or vxlan_id is missing.
    """
    peers = [text.strip() for text in options.get("peers", "").split(",") if text.strip()]
    local = options.get("local", "")
    return Overlay(
        number=_number(options, "vxlan_id", low=1, high=_MAX_ID),
        peers=tuple(dict.fromkeys(_address("peers", text) for text in peers)),
        local=_address("local", local) if local else None,
        port=_number(options, "port", low=1, high=65535, usual=_PORT),
    )


def check_overlay(network: NetworkRecord, others: Sequence[NetworkRecord]) -> None:
    """Refuse an overlay whose number another network of this host has.

    Raises:
        Forbidden: naming it.
    """
    mine = read_overlay(network.options)
    for other in others:
        if other.driver == VXLAN:
            its = read_overlay(other.options)
            if (its.number, its.port) == (mine.number, mine.port):
                raise Forbidden(f"network {other.name} has vxlan_id {mine.number} already")


def name_of(network: NetworkRecord) -> str:
    """Return the name of the link."""
    return f"vx-{network.id[:12]}"


def ensure_overlay(network: NetworkRecord) -> None:
    """Have the link, as a port of the network's bridge, and its peers.

    Raises:
        SampanError: the kernel refuses.
    """
    overlay, name = read_overlay(network.options), name_of(network)
    with closing(netsocket.open_socket()) as sock:
        request = rtnetlink_kinds.new_vxlan(
            name,
            bridge=rtnetlink.links(sock)[network.bridge],
            number=overlay.number,
            port=overlay.port,
            mtu=network.mtu,
            local=overlay.local.packed if overlay.local is not None else b"",
        )
        try:
            netsocket.run(sock, [request])
            index = rtnetlink.links(sock)[name]
            peers = [rtnetlink_kinds.add_vxlan_peer(index, peer.packed) for peer in overlay.peers]
            netsocket.run(sock, [*peers, rtnetlink.set_up(index)])
        except OSError as exc:
            if exc.errno == errno.EOPNOTSUPP:
                raise Unsupported("this kernel has no vxlan links", hint="load its module") from exc
            raise SampanError(f"cannot make the overlay of network {network.name}: {exc.strerror}") from exc


def remove_overlay(network: NetworkRecord) -> None:
    """Remove the link; one that is gone is fine."""
    with closing(netsocket.open_socket()) as sock:
        netsocket.run(sock, [rtnetlink.delete_link(name_of(network))])


def _number(options: dict[str, str], key: str, *, low: int, high: int, usual: int = 0) -> int:
    text = options.get(key, "")
    if not text and usual:
        return usual
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise InvalidArgument(f"invalid {key} {text!r}: a number from {low} to {high}")
    return int(text)


def _address(key: str, text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise InvalidArgument(f"invalid {key}: {text!r} is not an address") from exc
