"""Bridges and veth pairs in sampand's own network namespace, and the other ends in containers'.

What a crash leaves is found by name: `sv<tag>…` for the pairs of one run root.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.errors import SampanError
from sampan.kernel import netsocket, rtnetlink
from sampan.network.model import Endpoint, NetworkRecord

if TYPE_CHECKING:
    from _socket import socket

_USUAL_RUN_ROOT: Final = "/run/sampan"
_GROUPS: Final = 0x53000000  # other tools number theirs from 0


class Names:
    """The names of interfaces and of the table, so that several sampands share a host."""

    def __init__(self, run_root: str) -> None:
        tag = hashlib.sha256(run_root.encode()).hexdigest()
        usual = run_root == _USUAL_RUN_ROOT
        self.bridge = "sampan0" if usual else f"sampan-{tag[:8]}"
        self.table = "sampan" if usual else f"sampan-{tag[:8]}"
        self.veth_prefix = f"sv{tag[:4]}"
        self.group = _GROUPS | int(tag[:6], 16)  # of all its bridges, so that a rule can name them

    def veth(self, endpoint_id: str) -> str:
        """Return the name of the host's end of an endpoint's pair."""
        return f"{self.veth_prefix}{endpoint_id[:9]}"


class Links:
    """Interfaces, by one netlink socket; any thread may call."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._bridges: dict[str, int] = {}

    def _open(self) -> socket:
        if self._socket is None:
            self._socket = netsocket.open_socket()
        return self._socket

    def used_subnets(self, *, but: str = "") -> list[IPv4Network]:
        """Return where the host has routes to, but for those by one interface."""
        with self._lock:
            mine = rtnetlink.links(self._open()).get(but, -1) if but else -1
            found = rtnetlink.routes(self._open())
        return [
            IPv4Network((int.from_bytes(destination, "big"), prefix), strict=False)
            for destination, prefix, index in found
            if index != mine
        ]

    def ensure_bridge(self, network: NetworkRecord) -> None:
        """Have a network's bridge, up and with its gateway's address."""
        if network.bridge in self._bridges:
            return
        prefix = network.pool.network.prefixlen
        mac = b"\x02\x42" + hashlib.sha256(network.id.encode()).digest()[:4]
        with self._lock:
            sock = self._open()
            netsocket.run(sock, [rtnetlink.new_bridge(network.bridge, mac=mac, mtu=network.mtu)])
            index = rtnetlink.links(sock)[network.bridge]
            _set_up_bridge(network.bridge)
            gateway = IPv4Address(network.pool.gateway).packed
            netsocket.run(
                sock,
                [
                    rtnetlink.new_address(index, gateway, prefix),
                    rtnetlink.set_up(index, group=self._names.group),
                ],
            )
            self._bridges[network.bridge] = index

    def forget_bridge(self, name: str) -> None:
        """Look for it anew at its next use: somebody may have removed it."""
        self._bridges.pop(name, None)

    def remove(self, name: str) -> None:
        """Remove an interface; one that is gone is fine."""
        self.forget_bridge(name)
        with self._lock:
            netsocket.run(self._open(), [rtnetlink.delete_link(name)])

    def connect(self, endpoint: Endpoint, network: NetworkRecord, *, namespace: int, inside: socket) -> None:
        """Make an endpoint's pair and set up both ends.

        namespace: the container's; inside: a netlink socket in it.
        """
        try:
            self._connect(endpoint, network, namespace)
        except OSError:
            self.forget_bridge(network.bridge)  # removed by hand: once more, with a new one
            self.remove(endpoint.veth)
            self.ensure_bridge(network)
            self._connect(endpoint, network, namespace)
        index = rtnetlink.links(inside)[endpoint.interface]
        address = IPv4Address(endpoint.address).packed
        subnet = network.pool.network
        requests = [
            rtnetlink.set_up(index),
            rtnetlink.new_address(index, address, 32),
            rtnetlink.new_route(index, subnet.network_address.packed, subnet.prefixlen, source=address),
            *(rtnetlink.new_address(index, IPv4Address(one).packed, 16) for one in endpoint.link_local),
        ]
        netsocket.run(inside, requests)

    def route_outward(self, endpoint: Endpoint, network: NetworkRecord, *, inside: socket) -> None:
        """Have a container's default route by one of its networks."""
        index = rtnetlink.links(inside)[endpoint.interface]
        gateway = IPv4Address(network.pool.gateway).packed
        netsocket.run(inside, [rtnetlink.new_route(index, bytes(4), 0, gateway=gateway)])

    def _connect(self, endpoint: Endpoint, network: NetworkRecord, namespace: int) -> None:
        pair = rtnetlink.new_veth(
            endpoint.veth,
            bridge=self._bridges[network.bridge],
            mtu=network.mtu,
            peer=endpoint.interface,
            peer_mac=bytes.fromhex(endpoint.mac.replace(":", "")),
            peer_namespace=namespace,
        )
        isolated = 0 if network.icc else 1
        with self._lock:
            netsocket.run(
                self._open(), [pair, rtnetlink.set_port(endpoint.veth, hairpin=1, isolated=isolated)]
            )

    def sweep(self, known: Iterable[str]) -> None:
        """Remove pairs of this run root that nobody knows."""
        keep = set(known)
        with self._lock:
            found = rtnetlink.links(self._open())
        for name in found:
            if name.startswith(self._names.veth_prefix) and name not in keep:
                log.info("sweeping unknown interface", interface=name)
                self.remove(name)

    def close(self) -> None:
        """Close the socket; the interfaces stay."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def _set_up_bridge(name: str) -> None:
    """Let packets be forwarded, and `127.0.0.1:PORT` lead to containers; IPv6 is off on an IPv4 network."""
    if _read("net/ipv4/ip_forward") != "1":
        log.info("forwarding of IPv4 switched on: a container needs it", sysctl="net.ipv4.ip_forward")
        _write("net/ipv4/ip_forward", "1")
    _write(f"net/ipv4/conf/{name}/route_localnet", "1")
    if os.path.exists(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"):
        _write(f"net/ipv6/conf/{name}/disable_ipv6", "1")


def _read(name: str) -> str:
    with open(f"/proc/sys/{name}") as file:
        return file.read().strip()


def _write(name: str, value: str) -> None:
    try:
        with open(f"/proc/sys/{name}", "w") as file:
            file.write(value)
    except OSError as exc:
        raise SampanError(f"cannot set sysctl {name.replace('/', '.')}: {exc.strerror}") from exc
