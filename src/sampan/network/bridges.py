"""The drivers `bridge` and `vxlan`: a bridge a network, a veth pair a container, rules of the one table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.kernel import nftables_watch
from sampan.network.drivers import Place
from sampan.network.firewall import Firewall
from sampan.network.firewalld import ZONE, Firewalld
from sampan.network.flows import Flows
from sampan.network.keeping import Keeper, Watch
from sampan.network.links import Links, Names
from sampan.network.model import VXLAN, Endpoint, NetworkRecord
from sampan.network.neighbours import Dropping, Neighbours
from sampan.network.overlays import check_overlay, ensure_overlay, remove_overlay
from sampan.network.tracking import TableWatch

if TYPE_CHECKING:
    from _socket import socket


_SETTLE_S: Final = 0.2  # dockerd changes its rules in many steps


class Bridges:
    """See `Driver`. Nothing touches the host before a container needs it."""

    def __init__(
        self, names: Names, links: Links, *, watch: Watch, strict: bool, on_lost: Callable[[Place], None]
    ) -> None:
        """on_lost: called with a place whose pair somebody removed."""
        self._links = links
        self._firewall = Firewall(names.table)
        self._table = names.table
        self._neighbours = Neighbours(names, strict=strict)
        self._firewalld = Firewalld()
        self._watch = watch
        self._changes: socket | None = None
        self._settling: threading.Timer | None = None
        self._flows = Flows()
        self._table_watch = TableWatch()
        self._lock = threading.Lock()
        self._ready: set[str] = set()  # ids of networks that the rules know
        self._keeper = Keeper(links, watch=watch, places=self._firewall.places, on_lost=on_lost)

    def check(self, network: NetworkRecord, others: Sequence[NetworkRecord]) -> None:
        """Refuse an overlay that another network has."""
        if network.driver == VXLAN:
            check_overlay(network, others)

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
            if network.driver == VXLAN:
                ensure_overlay(network)
            self._firewall.add_network(network)
            self._ready.add(network.id)
            self._see_others()
            self._keeper.begin()
            self._table_watch.begin()

    def connect(self, places: Sequence[Place], *, namespace: int, inside: socket) -> list[Endpoint]:
        """Make the pairs, then the rules of all of them at once."""
        for network, endpoint in places:
            self._links.connect(endpoint, network, namespace=namespace, inside=inside)
        if any(one.version == 6 for _, endpoint in places for one in endpoint.published):
            self._firewall.follow_host()
        self._firewall.add_endpoints(places)
        self._flows.begin(places)
        return [endpoint for _, endpoint in places]

    def route_outward(self, place: Place, *, version: int, inside: socket) -> None:
        """Route by the bridge."""
        network, endpoint = place
        self._links.route_outward(endpoint, network, version=version, inside=inside)

    def change(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        """Change the rules."""
        self._firewall.change_endpoints(old, new)
        self._flows.end(old)
        self._flows.begin(new)
        self._flows.end(old)

    def withdraw(self, places: Sequence[Place]) -> None:
        """Take containers and their ports out of the rules."""
        if self._firewall.written:
            self._firewall.remove_endpoints(places)
            self._flows.end(places)

    def end(self, places: Sequence[Place]) -> Sequence[Place]:
        """Cut the pairs off, and leave them to the kernel.

        It removes them with the namespace, at one stroke with all else in it and in others that end. To
        remove them here, too, would hold up all that has to do with interfaces for 10 ms: the next start.
        """
        self._links.silence(endpoint.veth for _, endpoint in places)
        return places

    def remove_links(self, places: Sequence[Place], *, inside: socket | None, namespace: int = -1) -> None:
        """Remove the host's ends; 10 ms each, since the kernel waits for all who may still use one."""
        for _, endpoint in places:
            self._links.remove(endpoint.veth)

    def remove(self, network: NetworkRecord) -> None:
        """Take a network's bridge away, and what the rules know of it."""
        with self._lock:
            if network.id in self._ready:
                self._firewall.remove_network(network)
                if network.driver == VXLAN:
                    remove_overlay(network)
                self._links.remove_bridge(network)
                self._ready.discard(network.id)
                self._see_others()

    def recover(self, places: Sequence[Place]) -> None:
        """Have every bridge, write the rules anew, sweep interfaces."""
        used = {network.id: network for network, _ in places}
        with self._lock:
            for network in used.values():
                self._links.ensure_bridge(network)
                if network.driver == VXLAN:
                    ensure_overlay(network)
            if used:
                self._firewall.write(used.values(), places)
            else:
                self._firewall.delete()
            self._ready = set(used)
            self._links.sweep(endpoint.veth for _, endpoint in places)
            self._see_others()
            if used:
                self._keeper.begin()
                self._table_watch.begin()

    # ---- other firewalls

    def _see_others(self) -> None:
        """Be told of their changes from now on, and have our rules there where they are needed."""
        if self._changes is None and self._ready:
            self._firewall.use(self._open_watch)
        try:
            self._firewall.follow_host()
            self._firewall.use(lambda sock: self._neighbours.settle(sock, needed=bool(self._ready)))
        except OSError as exc:
            log.warning("rules for another firewall are not set yet", reason=exc)
        if self._neighbours.has_firewalld:
            self._firewalld.settle(self._firewall.bridges())

    def _open_watch(self, own: socket) -> None:
        self._changes = nftables_watch.open_watch(nftables_watch.port_of(own))
        self._watch(self._changes.fileno(), self._changed)

    def _changed(self) -> None:
        """Somebody else has changed nftables: have our table, and our rules in theirs, as they were."""
        changes = self._changes
        if changes is None:
            return
        try:
            if nftables_watch.take_changes(changes, self._table):
                log.warning(
                    "somebody took our nftables table away, or a part: written again", table=self._table
                )
                self._firewall.rewrite()
        except OSError as exc:
            log.error("nftables table cannot be written again", table=self._table, reason=exc)
        with self._lock:
            if self._changes is not None and self._settling is None:
                self._settling = threading.Timer(_SETTLE_S, self._settle)
                self._settling.daemon = True
                self._settling.start()

    def _settle(self) -> None:
        with self._lock:
            self._settling = None
            if self._changes is not None:
                self._see_others()

    def droppings(self) -> list[Dropping]:
        """Return others' forward chains that drop by policy, as far as they matter to us."""
        found = list(self._neighbours.found)
        if self._neighbours.has_firewalld and self._ready:
            place = f"zone {ZONE}" if self._firewalld.works else ""
            found.append(Dropping(table="inet firewalld", chain="filter_FORWARD", place=place))
        return found

    def close(self) -> None:
        """Let sockets go."""
        self._keeper.close()
        self._table_watch.close()
        self._flows.close()
        with self._lock:
            if self._changes is not None:
                self._changes.close()
                self._changes = None
            if self._settling is not None:
                self._settling.cancel()
        self._firewall.close()
