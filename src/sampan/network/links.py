"""Bridges and veth pairs in sampand's own network namespace, and the other ends in containers'.

What a crash leaves is found by name: `sv<tag>…` for the pairs of one run root.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, if_nametoindex
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.errors import Forbidden, Unavailable
from sampan.kernel import arp, netsocket, rtnetlink
from sampan.network.forwarding import set_up_bridge
from sampan.network.model import MIN_MTU6, Endpoint, NetworkRecord, Pool, Pool6
from sampan.network.ruleset import has_address

if TYPE_CHECKING:
    from _socket import socket

    from sampan.kernel.netsocket import Request

_USUAL_RUN_ROOT: Final = "/run/sampan"
_MAX_PORTS: Final = 1023  # Linux: BR_MAX_PORTS in net/bridge/br_private.h, of which 0 is not used
_GROUPS: Final = 0x53000000  # other tools number theirs from 0
_BRIDGE_LINK_LOCAL: Final = ip_address("fe80::1").packed


class Names:
    """The names of interfaces and of the table, so that several sampands share a host."""

    def __init__(self, run_root: str) -> None:
        tag = hashlib.sha256(run_root.encode()).hexdigest()
        usual = run_root == _USUAL_RUN_ROOT
        self.bridge = "sampan0" if usual else f"sampan-{tag[:8]}"
        self.table = "sampan" if usual else f"sampan-{tag[:8]}"
        self.veth_prefix = f"sv{tag[:4]}"
        self.group = _GROUPS | int(tag[:6], 16)  # of all its bridges, so that a rule can name them
        self._run_root = run_root

    def ula_seed(self) -> bytes:
        """Return what makes unique local IPv6 prefixes this engine's: the machine's id and the run root."""
        try:
            with open("/etc/machine-id", "rb") as file:
                return file.read().strip() + self._run_root.encode()
        except FileNotFoundError:
            return os.uname().nodename.encode() + self._run_root.encode()

    def veth(self, endpoint_id: str) -> str:
        """Return the name of the host's end of an endpoint's pair."""
        return f"{self.veth_prefix}{endpoint_id[:9]}"


class Links:
    """Interfaces, by one netlink socket; any thread may call."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._removing = threading.Lock()  # of its own: a removal is slow, and a start must not wait for it
        self._removing_socket: socket | None = None
        self._ipv6 = os.path.exists("/proc/sys/net/ipv6")
        self._bridges: dict[str, int] = {}
        self._odd: set[tuple[str, str]] = set()  # (bridge, address) with a MAC address of the user's

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

    def check_bridge(self, name: str) -> None:
        """Refuse a bridge's name that something else of the host has; a bridge that is there is fine.

        Raises:
            Forbidden: in Docker's words.
        """
        with self._lock:
            _check_bridge(name, rtnetlink.find_link(self._open(), name))

    def find_connected(self, subnet: IPv4Network | IPv6Network, *, but: str) -> str:
        """Return which interface leads the host straight to a part of a subnet, for a reader; "" if none.

        but: one that does not count.
        """
        family = AF_INET if subnet.version == 4 else AF_INET6
        with self._lock:
            found = rtnetlink.routes(self._open(), family, connected=1)
            names = {index: name for name, index in rtnetlink.links(self._open()).items()}
        for destination, prefix, index in found:
            route = ip_network((destination, prefix), strict=False)
            if route.overlaps(subnet) and names.get(index) != but:
                return f"{route} at interface {names.get(index, index)}"
        return ""

    def used_subnets6(self) -> list[IPv6Network]:
        """Return where the host has IPv6 routes to."""
        with self._lock:
            found = rtnetlink.routes(self._open(), AF_INET6)
        return [IPv6Network((destination, prefix), strict=False) for destination, prefix, _ in found]

    def ensure_bridge(self, network: NetworkRecord) -> None:
        """Have a network's bridge, up and with its gateway's address.

        Raises:
            Forbidden: an interface of that name is no bridge.
        """
        if network.bridge in self._bridges:
            return
        with self._lock:
            sock = self._open()
            netsocket.run(sock, [rtnetlink.new_bridge(network.bridge, mac=network.mac, mtu=network.mtu)])
            index = _check_bridge(network.bridge, rtnetlink.find_link(sock, network.bridge))
            set_up_bridge(network.bridge, ipv6=network.pool6 is not None)
            requests = [
                rtnetlink.new_address(index, ip_address(pool.gateway).packed, pool.network.prefixlen)
                for pool in network.pools
                if has_address(network, pool.network.version)
            ]
            if network.pool6 is not None and has_address(network, 6):
                # At once, without duplicate address detection: neighbours are asked for from it.
                requests.append(rtnetlink.new_address(index, _BRIDGE_LINK_LOCAL, 64))
            up = rtnetlink.set_up(index, group=self._names.group)
            netsocket.run(sock, [rtnetlink.set_no_link_local(index), *requests, up])
            if network.pool6 is not None:
                netsocket.run(sock, [rtnetlink.new_loopback_route(index)])
            self._bridges[network.bridge] = index

    def restore_bridge(self, network: NetworkRecord, ports: Iterable[Endpoint]) -> None:
        """Have a bridge again that somebody removed, with the pairs that were on it."""
        self.forget_bridge(network.bridge)
        self.ensure_bridge(network)
        for endpoint in ports:
            self._put_on_bridge(endpoint, network)

    def names(self) -> set[str]:
        """Return the names of all interfaces."""
        with self._lock:
            return set(rtnetlink.links(self._open()))

    def forget_bridge(self, name: str) -> None:
        """Look for it anew at its next use: somebody may have removed it."""
        self._bridges.pop(name, None)

    def remove(self, name: str) -> None:
        """Remove an interface; one that is gone is fine."""
        self.forget_bridge(name)
        with self._removing:
            if self._removing_socket is None:
                self._removing_socket = netsocket.open_socket()
            netsocket.run(self._removing_socket, [rtnetlink.delete_link(name)])

    def silence(self, names: Iterable[str]) -> None:
        """Let nothing pass the host's ends of pairs any more; those that are gone are fine."""
        requests = [rtnetlink.silence_port(index) for index in map(_find_index, names) if index]
        with self._lock:
            netsocket.run(self._open(), requests)

    def remove_bridge(self, network: NetworkRecord) -> None:
        """Remove a network's bridge. One that was there before, known by its MAC address, stays as it is."""
        with self._lock:
            found = rtnetlink.find_link(self._open(), network.bridge)
            if found is not None and found.mac != network.mac:
                self.forget_bridge(network.bridge)
                netsocket.run(self._open(), [rtnetlink.set_group(found.index, 0)])
                return
        self.remove(network.bridge)

    def connect(self, endpoint: Endpoint, network: NetworkRecord, *, namespace: int, inside: socket) -> None:
        """Make an endpoint's pair and set up both ends.

        namespace: the container's; inside: a netlink socket in it. Both ends are up before the bridge gets
        its port: it goes through all its ports at each change of one, and so does it once, not three times.
        """
        pair = rtnetlink.new_veth(
            endpoint.veth,
            mtu=network.mtu,
            peer=endpoint.interface,
            peer_mac=bytes.fromhex(endpoint.mac.replace(":", "")),
            peer_namespace=namespace,
        )
        ipv6 = int(self._ipv6 and network.mtu >= MIN_MTU6)
        with self._lock:
            netsocket.run(self._open(), [pair, rtnetlink.set_host_end_up(endpoint.veth, ipv6=ipv6)])
        self._set_up_inside(endpoint, network, inside)
        try:
            self._put_on_bridge(endpoint, network)
        except OSError as exc:
            if exc.errno == errno.EXFULL:
                raise Unavailable(
                    f"network {network.name} is full: a bridge has {_MAX_PORTS:,} ports at most",
                    hint="put further containers in another network",
                ) from exc
            self.forget_bridge(network.bridge)  # removed by hand: once more, with a new one
            self.ensure_bridge(network)
            self._put_on_bridge(endpoint, network)

    def _put_on_bridge(self, endpoint: Endpoint, network: NetworkRecord) -> None:
        isolated = 0 if network.icc else 1
        requests = [
            rtnetlink.set_master(endpoint.veth, self._bridges[network.bridge]),
            rtnetlink.set_port(endpoint.veth, hairpin=1, isolated=isolated),
        ]
        with self._lock:
            netsocket.run(self._open(), requests)
        self._announce(endpoint, network)

    def _announce(self, endpoint: Endpoint, network: NetworkRecord) -> None:
        """Tell neighbours of an address that has another MAC address than they may know.

        Not needed as long as the one follows from the other.
        """
        key = (network.bridge, endpoint.address)
        if not endpoint.address or (not endpoint.hardware and key not in self._odd):
            return
        (self._odd.add if endpoint.hardware else self._odd.discard)(key)
        address = IPv4Address(endpoint.address).packed
        mac = bytes.fromhex(endpoint.mac.replace(":", ""))
        try:
            with self._lock:
                index = self._bridges[network.bridge]
                known = [ip_address(text).packed for text in endpoint.addresses]
                netsocket.run(self._open(), [rtnetlink.delete_neighbour(index, one) for one in known])
            arp.announce(network.bridge, mac=mac, address=address)
        except OSError as exc:
            log.warning("neighbours are not told of a MAC address", interface=network.bridge, reason=exc)

    def _set_up_inside(self, endpoint: Endpoint, network: NetworkRecord, inside: socket) -> None:
        index = rtnetlink.links(inside)[endpoint.interface]
        requests = [] if endpoint.address6 else [rtnetlink.set_no_link_local(index)]
        requests.append(rtnetlink.set_up(index))
        if endpoint.address and network.pool is not None:
            address = IPv4Address(endpoint.address).packed
            requests += [
                rtnetlink.new_address(index, address, 32),
                *(_route_to(pool, index, source=address) for pool in network.pools_of(4)),
                *(rtnetlink.new_address(index, IPv4Address(one).packed, 16) for one in endpoint.link_local),
            ]
        if endpoint.address6:
            address, own = ip_address(endpoint.address6).packed, network.pool_with(endpoint.address6)
            requests.append(rtnetlink.new_address(index, address, network.prefix(endpoint.address6)))
            others = (pool for pool in network.pools_of(6) if pool is not own)
            requests += [_route_to(pool, index, source=address) for pool in others]
        netsocket.run(inside, requests)

    def route_outward(
        self, endpoint: Endpoint, network: NetworkRecord, *, version: int, inside: socket
    ) -> None:
        """Have a container's default route of IPv4 or IPv6 by one of its networks."""
        by = network.gateway(endpoint.address_of(version))
        if not by:
            return
        index = rtnetlink.links(inside)[endpoint.interface]
        gateway = ip_address(by).packed
        netsocket.run(inside, [rtnetlink.new_route(index, bytes(len(gateway)), 0, gateway=gateway)])

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
        """Close the sockets; the interfaces stay."""
        with self._lock, self._removing:
            for sock in (self._socket, self._removing_socket):
                if sock is not None:
                    sock.close()
            self._socket = self._removing_socket = None


def _find_index(name: str) -> int:
    """Return the index of an interface of ours, 0 if it is gone."""
    try:
        return if_nametoindex(name)
    except OSError:
        return 0


def _check_bridge(name: str, found: rtnetlink.Link | None) -> int:
    """Return the index of a bridge, 0 when there is no interface of that name."""
    if found is not None and found.kind != "bridge":
        raise Forbidden(
            f"existing interface {name} is not a bridge", hint="choose another com.docker.network.bridge.name"
        )
    return 0 if found is None else found.index


def _route_to(pool: Pool | Pool6, index: int, *, source: bytes) -> Request:
    """Return how to have a subnet on the other side of an interface."""
    subnet = pool.network
    return rtnetlink.new_route(index, subnet.network_address.packed, subnet.prefixlen, source=source)
