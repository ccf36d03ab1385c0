"""The one nftables table of an engine: what its rules are, and its sets and maps. docs/networks.md, "Rules".

Networks and ports are elements, so that the rules stay as they are however many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from sampan.kernel import nftables as nft
from sampan.kernel.nftables import Transaction
from sampan.network.model import Endpoint, NetworkRecord

if TYPE_CHECKING:
    from _socket import socket

    from sampan.kernel.nftables import Element

_NUMBERS: Final = {"tcp": 6, "udp": 17, "sctp": 132}  # IANA protocol numbers
_LOOPBACK: Final = bytes([127, 0, 0, 0])
BridgeEndpoint = tuple[str, Endpoint]  # the bridge's name
_ANY: Final = "0.0.0.0"  # noqa: S104
_DSTNAT, _SRCNAT, _RAW, _FILTER = -100, 100, -300, 0


class Firewall:
    """The table in the kernel; any thread may call. It is not there before `write`.

    What it was told is kept here: whoever takes the table away, all of it can be written again.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._networks: dict[str, NetworkRecord] = {}
        self._endpoints: dict[str, BridgeEndpoint] = {}
        self.written = False

    def write(self, networks: Iterable[NetworkRecord], endpoints: Iterable[BridgeEndpoint]) -> None:
        """Put the whole table in place of what is there, as one transaction."""
        with self._lock:
            self._networks = {network.id: network for network in networks}
            self._endpoints = {endpoint[1].id: endpoint for endpoint in endpoints}
            self._write()

    def rewrite(self) -> None:
        """Put the table there again, as far as it was written."""
        with self._lock:
            if self.written:
                self._write()

    def _write(self) -> None:
        change = Transaction(self._table)
        change.replace_table()
        _add_sets(change)
        _add_chains(change)
        for network in self._networks.values():
            _change_network(change, network)
        _change_endpoints(change, self._endpoints.values())
        change.commit(self._open())
        self.written = True

    def add_network(self, network: NetworkRecord) -> None:
        """Let a network's bridge be known."""
        change = Transaction(self._table)
        _change_network(change, network)
        with self._lock:
            self._networks[network.id] = network
            self._add(change)

    def remove_network(self, network: NetworkRecord) -> None:
        """Forget a network's bridge."""
        change = Transaction(self._table)
        _change_network(change, network, adding=False)
        with self._lock:
            self._networks.pop(network.id, None)
            self._remove(change)

    def add_endpoints(self, endpoints: Sequence[BridgeEndpoint]) -> None:
        """Let containers be known, and send what comes to their published ports to them."""
        change = Transaction(self._table)
        _change_endpoints(change, endpoints)
        with self._lock:
            self._endpoints.update({endpoint[1].id: endpoint for endpoint in endpoints})
            self._add(change)

    def remove_endpoints(self, endpoints: Sequence[BridgeEndpoint]) -> None:
        """Undo `add_endpoints`; those that never were there are fine."""
        with self._lock:
            known = [endpoint for endpoint in endpoints if self._endpoints.pop(endpoint[1].id, None)]
            change = Transaction(self._table)
            _change_endpoints(change, known, adding=False)
            self._remove(change)

    def _add(self, change: Transaction) -> None:
        try:
            change.commit(self._open())
        except FileNotFoundError:  # somebody flushed the ruleset just now
            self._write()

    def _remove(self, change: Transaction) -> None:
        try:
            change.commit(self._open())
        except FileNotFoundError:
            self._write()  # what is left is what was told

    def use(self, task: Callable[[socket], None]) -> None:
        """Call task with the table's socket: who watches for others' changes is not told of its own."""
        with self._lock:
            task(self._open())

    def delete(self) -> None:
        """Remove the table, if it is there."""
        with self._lock:
            self._networks.clear()
            self._endpoints.clear()
            if nft.has_table(self._open(), self._table):
                change = Transaction(self._table)
                change.delete_table()
                change.commit(self._open())
        self.written = False

    def _open(self) -> socket:
        if self._socket is None:
            self._socket = nft.open_firewall()
        return self._socket

    def close(self) -> None:
        """Close the socket; the table stays, containers go on."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def _add_sets(change: Transaction) -> None:
    for name in ("own", "internal", "nat"):
        change.add_set(name, [nft.IFNAME], 16)
    change.add_set("open", [nft.IFNAME, nft.IFNAME], 32)  # (bridge, itself) where containers may meet
    change.add_set("at", [nft.IFNAME, nft.ADDRESS], 20)  # (bridge, address) of each container
    target = [nft.ADDRESS, nft.SERVICE]
    change.add_set("ports_at", [nft.ADDRESS, nft.PROTOCOL, nft.SERVICE], 12, data=target, data_size=8)
    change.add_set("ports", [nft.PROTOCOL, nft.SERVICE], 8, data=target, data_size=8)


def _add_chains(change: Transaction) -> None:
    change.add_chain("raw", hook=nft.PREROUTING, priority=_RAW)
    change.add_chain("prerouting", hook=nft.PREROUTING, priority=_DSTNAT, kind="nat")
    change.add_chain("output", hook=nft.OUTPUT, priority=_DSTNAT, kind="nat")
    change.add_chain("postrouting", hook=nft.POSTROUTING, priority=_SRCNAT, kind="nat")
    change.add_chain("forward", hook=nft.FORWARD, priority=_FILTER)
    change.add_chain("to_container")
    from_own = nft.incoming() + nft.is_in("own") + nft.family(nft.IPV4)
    for load in (nft.source, nft.destination):
        change.add_rule("raw", from_own, load(), _is_loopback(), nft.verdict(nft.DROP))
    change.add_rule(
        "prerouting", nft.family(nft.IPV4), nft.destination(), _is_loopback(), nft.verdict(nft.RETURN)
    )
    for chain in ("prerouting", "output"):
        change.add_rule(chain, _to_ports("ports_at", nft.destination(nft.R0), nft.R1))
        change.add_rule(chain, _to_ports("ports", b"", nft.R0))
    _add_masquerade(change)
    _add_forward(change)


def _is_loopback() -> bytes:
    return nft.mask(bytes([255, 0, 0, 0])) + nft.compare(_LOOPBACK)


def _to_ports(name: str, address: bytes, register: int) -> bytes:
    key = address + nft.protocol(register) + nft.port(register + 1)
    return (
        nft.family(nft.IPV4)
        + nft.to_this_host()
        + key
        + nft.look_up(name, key=nft.R0, into=nft.R0)
        + nft.dnat(address=nft.R0, to_port=nft.R1)
    )


def _add_masquerade(change: Transaction) -> None:
    """Back into the bridge it came from is told by the source address, not by the interface it came by.

    Where br_netfilter is on, a frame that stays on a bridge passes here, too, and comes by none.
    """
    change.add_rule(
        "postrouting",
        nft.outgoing() + nft.is_in("own"),
        nft.family(nft.IPV4) + nft.source() + _is_loopback() + nft.masquerade(),
    )
    change.add_rule(
        "postrouting",
        nft.family(nft.IPV4) + nft.connection(nft.STATUS, nft.DST_NAT),
        nft.outgoing() + nft.source(nft.R4) + nft.is_in("at") + nft.masquerade(),
    )
    change.add_rule(
        "postrouting",
        nft.incoming() + nft.is_in("nat") + nft.outgoing() + nft.is_in("own", inverted=1),
        nft.family(nft.IPV4) + nft.masquerade(),
    )


def _add_forward(change: Transaction) -> None:
    change.add_rule("forward", nft.outgoing() + nft.is_in("own") + nft.jump("to_container"))
    change.add_rule("forward", nft.incoming() + nft.is_in("internal") + nft.verdict(nft.DROP))
    accept = nft.verdict(nft.ACCEPT)
    change.add_rule("to_container", nft.connection(nft.STATE, nft.ESTABLISHED | nft.RELATED) + accept)
    change.add_rule("to_container", nft.incoming() + nft.outgoing(nft.R4) + nft.is_in("open") + accept)
    change.add_rule("to_container", nft.connection(nft.STATUS, nft.DST_NAT) + accept)
    change.add_rule("to_container", nft.verdict(nft.DROP))


def _change_network(change: Transaction, network: NetworkRecord, *, adding: bool = True) -> None:
    name = network.bridge.encode().ljust(16, b"\0")
    sets = ["own"] + (["internal"] if network.internal else []) + (["nat"] if _has_nat(network) else [])
    act = change.add_elements if adding else change.delete_elements
    for one in sets:
        act(one, [(name, b"")])
    if network.icc:
        act("open", [(name + name, b"")])


def _has_nat(network: NetworkRecord) -> bool:
    return network.masquerade and not network.internal


def _change_endpoints(
    change: Transaction, endpoints: Iterable[BridgeEndpoint], *, adding: bool = True
) -> None:
    elements: dict[str, list[Element]] = {"at": [], "ports_at": [], "ports": []}
    for bridge, endpoint in endpoints:
        address = IPv4Address(endpoint.address).packed
        elements["at"].append((bridge.encode().ljust(16, b"\0") + address, b""))
        for published in endpoint.published:
            key = bytes([_NUMBERS[published.protocol], 0, 0, 0]) + _service(published.host_port)
            data = address + _service(published.port)
            if published.host_address == _ANY:
                elements["ports"].append((key, data))
            else:
                elements["ports_at"].append((IPv4Address(published.host_address).packed + key, data))
    act = change.add_elements if adding else change.delete_elements
    for name, some in elements.items():
        act(name, some)


def _service(port: int) -> bytes:
    return port.to_bytes(2, "big") + b"\0\0"
