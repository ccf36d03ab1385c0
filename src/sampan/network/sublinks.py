"""The drivers `macvlan` and `ipvlan`: containers with links of their own on an interface of the host.

The link is made straight in the container's namespace and ends with it. The kernel does not let host and
container meet by it; there is no NAT, no rule of ours, and no published port.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from sampan.errors import Forbidden, InvalidArgument, NotFound, SampanError, Unsupported
from sampan.kernel import netsocket, rtnetlink, rtnetlink_kinds
from sampan.network.drivers import Place
from sampan.network.links import Names
from sampan.network.model import IPVLAN, MACVLAN, Endpoint, NetworkRecord

if TYPE_CHECKING:
    from _socket import socket

    from sampan.kernel.netsocket import Request

PARENT: Final = "parent"
MODE: Final = {MACVLAN: "macvlan_mode", IPVLAN: "ipvlan_mode"}
USUAL_MODE: Final = {MACVLAN: "bridge", IPVLAN: "l2"}
MODES: Final = {MACVLAN: rtnetlink_kinds.MACVLAN_MODES, IPVLAN: rtnetlink_kinds.IPVLAN_MODES}
_PATIENCE_S: Final = 2.0
_PAUSE_S: Final = 0.02
_MAX_VLAN: Final = 4094  # IEEE 802.1Q


class Sublinks:
    """See `Driver`; one for both kinds."""

    def __init__(self, names: Names) -> None:
        self._group = names.group

    def check(self, network: NetworkRecord, others: Sequence[NetworkRecord]) -> None:
        """Refuse a parent that is not there, or that another network has."""
        parent = parent_of(network)
        for other in others:
            if other.driver in MODE and parent_of(other) == parent:
                raise Forbidden(
                    f"network {other.name} is already using parent interface {parent}",
                    hint="a sub-interface of it, such as eth0.10, can be the parent of another network",
                )
        with closing(netsocket.open_socket()) as sock:
            _plan_parent(parent, network, rtnetlink.links(sock), group=self._group)

    def holds(self, network: NetworkRecord) -> bool:
        """Nothing of it is on the host but perhaps its parent."""
        return False

    def prepare(self, network: NetworkRecord) -> None:
        """Have the parent: one with a dot in its name is a VLAN of what is before it, made when missing."""
        with closing(netsocket.open_socket()) as sock:
            self._have_parent(network, sock)

    def _have_parent(self, network: NetworkRecord, sock: socket) -> int:
        parent = parent_of(network)
        found = rtnetlink.links(sock)
        if parent not in found:
            request = _plan_parent(parent, network, found, group=self._group)
            assert request is not None
            try:
                netsocket.run(sock, [request])
            except OSError as exc:
                raise _no_such_kind(exc, "VLAN" if "." in parent else "dummy") from exc
            found = rtnetlink.links(sock)
            netsocket.run(sock, [rtnetlink.set_up(found[parent])])
        return found[parent]

    def connect(self, places: Sequence[Place], *, namespace: int, inside: socket) -> list[Endpoint]:
        """Make the links with their addresses."""
        with closing(netsocket.open_socket()) as sock:
            for network, endpoint in places:
                parent = self._have_parent(network, sock)
                link = _new_link(network, endpoint, parent=parent, namespace=namespace)
                try:
                    _run_patiently(sock, [link], (errno.EINVAL,) if mode_of(network) == "passthru" else ())
                    _set_up(network, endpoint, inside)
                except OSError as exc:
                    raise _no_such_kind(exc, network.driver) from exc
        return [endpoint for _, endpoint in places]

    def route_outward(self, place: Place, *, version: int, inside: socket) -> None:
        """Route by the gateway that the network names, which is outside; ipvlan's l3 modes need none."""
        network, endpoint = place
        named = network.gateway(endpoint.address_of(version))
        if not named:
            return
        index = rtnetlink.links(inside)[endpoint.interface]
        gateway = ip_address(named).packed
        by = b"" if mode_of(network).startswith("l3") else gateway
        netsocket.run(inside, [rtnetlink.new_route(index, bytes(len(gateway)), 0, gateway=by)])

    def change(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        """Nothing leads here."""

    def withdraw(self, places: Sequence[Place]) -> None:
        """Nothing leads here."""

    def end(self, places: Sequence[Place]) -> Sequence[Place]:
        """Nothing: the links are in the namespace, and nothing of them here."""
        return ()

    def remove_links(self, places: Sequence[Place], *, inside: socket | None, namespace: int = -1) -> None:
        """Remove the links of a container that goes on; those of others are gone with them."""
        if inside is not None:
            netsocket.run(inside, [rtnetlink.delete_link(endpoint.interface) for _, endpoint in places])

    def remove(self, network: NetworkRecord) -> None:
        """Remove the parent if it was made for this network."""
        parent = parent_of(network)
        with closing(netsocket.open_socket()) as sock:
            found = rtnetlink.find_link(sock, parent)
            if found is not None and found.group == self._group:
                netsocket.run(sock, [rtnetlink.delete_link(parent)])

    def recover(self, places: Sequence[Place]) -> None:
        """What is there goes on by itself."""

    def close(self) -> None:
        """Nothing is held."""


def parent_of(network: NetworkRecord) -> str:
    """Return the parent's name: the one asked for, or that of a link that leads nowhere."""
    return network.options.get(PARENT) or f"dm-{network.id[:12]}"


def mode_of(network: NetworkRecord) -> str:
    """Return the kernel's mode of a network."""
    return network.options.get(MODE[network.driver]) or USUAL_MODE[network.driver]


def _plan_parent(parent: str, network: NetworkRecord, found: dict[str, int], *, group: int) -> Request | None:
    """Return how to make a parent, None when it is there.

    Raises:
        InvalidArgument, NotFound: it cannot be made.
    """
    if parent in found:
        return None
    if not network.options.get(PARENT):
        return rtnetlink_kinds.new_dummy(parent, group=group)
    base, dot, number = parent.rpartition(".")
    if not dot:
        raise NotFound(
            f"invalid subinterface vlan name {parent}, example formatting is eth0.10: the host has no "
            f"interface {parent}"
        )
    if not (number.isascii() and number.isdigit()):
        raise InvalidArgument(f"unable to parse a valid vlan id from: {number} (ex. eth0.10 for vlan 10)")
    if not 0 < int(number) <= _MAX_VLAN:
        raise InvalidArgument(f"vlan id must be between 1-4094, received: {int(number)}")
    if base not in found:
        raise NotFound(f"-o parent interface was not found on the host: {base}")
    return rtnetlink_kinds.new_vlan(parent, parent=found[base], number=int(number), group=group)


def _new_link(network: NetworkRecord, endpoint: Endpoint, *, parent: int, namespace: int) -> Request:
    mode, mtu = mode_of(network), network.mtu
    if network.driver == MACVLAN:
        mac = bytes.fromhex(endpoint.mac.replace(":", ""))
        return rtnetlink_kinds.new_macvlan(
            endpoint.interface, parent=parent, mode=mode, namespace=namespace, mtu=mtu, mac=mac
        )
    return rtnetlink_kinds.new_ipvlan(
        endpoint.interface, parent=parent, mode=mode, namespace=namespace, mtu=mtu
    )


def _set_up(network: NetworkRecord, endpoint: Endpoint, inside: socket) -> None:
    index = rtnetlink.links(inside)[endpoint.interface]
    requests = [] if endpoint.address6 else [rtnetlink.set_no_link_local(index)]
    requests.append(rtnetlink.set_up(index))
    for address in endpoint.addresses:
        requests.append(rtnetlink.new_address(index, ip_address(address).packed, network.prefix(address)))
    _run_patiently(inside, requests, (errno.EADDRINUSE,))


def _run_patiently(sock: socket, requests: Sequence[Request], busy: tuple[int, ...]) -> None:
    """Run requests, again and again while who had the address before is still going.

    The kernel takes a namespace down behind everybody's back, with the links in it.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            netsocket.run(sock, requests)
            return
        except OSError as exc:
            if exc.errno not in busy or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _no_such_kind(error: OSError, kind: str) -> SampanError:
    if error.errno == errno.EOPNOTSUPP:
        return Unsupported(f"this kernel has no {kind} links", hint="load or build its module, or use bridge")
    if error.errno == errno.EADDRINUSE:
        return Forbidden("the MAC address has another user on the parent interface")
    return SampanError(f"failed to create the {kind} port: {error.strerror}")
