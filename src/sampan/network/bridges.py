"""The driver `bridge`: a bridge a network, a veth pair a container, and the rules of the nftables table."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sampan import log
from sampan.network.drivers import Place
from sampan.network.firewall import Firewall
from sampan.network.links import Links, Names
from sampan.network.model import Endpoint, NetworkRecord

if TYPE_CHECKING:
    from _socket import socket


class Bridges:
    """See `Driver`. Nothing touches the host before a container needs it."""

    def __init__(self, names: Names, links: Links) -> None:
        self._links = links
        self._firewall = Firewall(names.table)
        self._lock = threading.Lock()
        self._ready: set[str] = set()  # ids of networks that the rules know

    def holds(self, network: NetworkRecord) -> bool:
        """See `Driver`."""
        return network.id in self._ready

    def prepare(self, network: NetworkRecord) -> None:
        """Have a network's bridge and the rules."""
        with self._lock:
            self._links.ensure_bridge(network)
            if network.id in self._ready:
                return
            if not self._firewall.written:
                self._firewall.write((), ())
            self._firewall.add_network(network)
            self._ready.add(network.id)

    def connect(self, places: Sequence[Place], *, namespace: int, inside: socket) -> None:
        """Make the pairs, then the rules of all of them at once."""
        for network, endpoint in places:
            self._links.connect(endpoint, network, namespace=namespace, inside=inside)
        self._firewall.add_endpoints(_with_bridges(places))

    def route_outward(self, place: Place, *, inside: socket) -> None:
        """Route by the bridge."""
        network, endpoint = place
        self._links.route_outward(endpoint, network, inside=inside)

    def withdraw(self, places: Sequence[Place]) -> None:
        """Take containers and their ports out of the rules."""
        if not self._firewall.written:
            return
        try:
            self._firewall.remove_endpoints(_with_bridges(places))
        except FileNotFoundError:  # never published, or the table was flushed
            log.debug("no rules to withdraw")

    def remove_links(self, places: Sequence[Place], *, inside: socket | None) -> None:
        """Remove the host's ends; 10 ms each, since the kernel waits for all who may still use one."""
        for _, endpoint in places:
            self._links.remove(endpoint.veth)

    def remove(self, network: NetworkRecord) -> None:
        """Take a network's bridge away, and what the rules know of it."""
        with self._lock:
            if network.id in self._ready:
                self._firewall.remove_network(network)
                self._links.remove(network.bridge)
                self._ready.discard(network.id)

    def recover(self, places: Sequence[Place]) -> None:
        """Have every bridge, write the rules anew, sweep interfaces."""
        used = {network.id: network for network, _ in places}
        with self._lock:
            for network in used.values():
                self._links.ensure_bridge(network)
            if used:
                self._firewall.write(used.values(), [endpoint for _, endpoint in places])
            else:
                self._firewall.delete()
            self._ready = set(used)
            self._links.sweep(endpoint.veth for _, endpoint in places)

    def close(self) -> None:
        """Let sockets go."""
        self._firewall.close()


def _with_bridges(places: Sequence[Place]) -> list[tuple[str, Endpoint]]:
    return [(network.bridge, endpoint) for network, endpoint in places]
