"""The one nftables table of an engine, in the kernel; what is in it: `ruleset.py`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sampan.kernel import nftables as nft
from sampan.kernel.nftables import Transaction
from sampan.network.drivers import Place
from sampan.network.forwarding import filters_bridges6
from sampan.network.model import NetworkRecord
from sampan.network.ruleset import add_everything, change_endpoints, change_network

if TYPE_CHECKING:
    from _socket import socket


class Firewall:
    """The table in the kernel; any thread may call. It is not there before `write`.

    What it was told is kept here: whoever takes the table away, all of it can be written again.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._networks: dict[str, NetworkRecord] = {}
        self._endpoints: dict[str, Place] = {}
        self._loopback6 = False
        self.written = False

    def write(self, networks: Iterable[NetworkRecord], endpoints: Iterable[Place]) -> None:
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

    def follow_host(self) -> None:
        """Have the rules that the host's br_netfilter asks for now."""
        with self._lock:
            if self.written and self._loopback6 == filters_bridges6():
                self._write()

    def _write(self) -> None:
        change = Transaction(self._table)
        change.replace_table()
        self._loopback6 = not filters_bridges6()
        add_everything(change, loopback6=self._loopback6)
        for network in self._networks.values():
            change_network(change, network)
        change_endpoints(change, self._endpoints.values())
        change.commit(self._open())
        self.written = True

    def add_network(self, network: NetworkRecord) -> None:
        """Let a network's bridge be known."""
        change = Transaction(self._table)
        change_network(change, network)
        with self._lock:
            self._networks[network.id] = network
            self._add(change)

    def remove_network(self, network: NetworkRecord) -> None:
        """Forget a network's bridge."""
        change = Transaction(self._table)
        change_network(change, network, adding=False)
        with self._lock:
            self._networks.pop(network.id, None)
            self._remove(change)

    def add_endpoints(self, endpoints: Sequence[Place]) -> None:
        """Let containers be known, and send what comes to their published ports to them."""
        change = Transaction(self._table)
        change_endpoints(change, endpoints)
        with self._lock:
            self._endpoints.update({endpoint[1].id: endpoint for endpoint in endpoints})
            self._add(change)

    def remove_endpoints(self, endpoints: Sequence[Place]) -> None:
        """Undo `add_endpoints`; those that never were there are fine."""
        with self._lock:
            known = [endpoint for endpoint in endpoints if self._endpoints.pop(endpoint[1].id, None)]
            change = Transaction(self._table)
            change_endpoints(change, known, adding=False)
            self._remove(change)

    def change_endpoints(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        """Put containers' ports elsewhere, at one stroke."""
        change = Transaction(self._table)
        change_endpoints(change, old, adding=False)
        change_endpoints(change, new)
        with self._lock:
            self._endpoints.update({place[1].id: place for place in new})
            self._add(change)

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

    def places(self) -> list[Place]:
        """Return the places that the table knows."""
        with self._lock:
            return list(self._endpoints.values())

    def bridges(self) -> list[str]:
        """Return the bridges that the table knows."""
        with self._lock:
            return [network.bridge for network in self._networks.values()]

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
