"""UDP and SCTP flows that the kernel tracks are forgotten when their port or container changes.

A client that goes on sending keeps its flow alive for ever: to a container that has gone, and so to whoever
gets its address next; or past a container that has published the port since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.kernel import conntrack, netsocket
from sampan.network.drivers import Place
from sampan.network.ruleset import PROTOCOLS

if TYPE_CHECKING:
    from _socket import socket

_WITHOUT_END: Final = ("udp", "sctp")  # TCP's peers find out by themselves


class Flows:
    """Any thread may call; costs nothing for containers that publish TCP alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket | None = None

    def begin(self, places: Sequence[Place]) -> None:
        """Let what comes to published ports from now on be looked at anew."""
        ports = {
            (PROTOCOLS[one.protocol], one.host_port, one.version)
            for _, endpoint in places
            for one in endpoint.published
            if one.protocol in _WITHOUT_END and one.host_port
        }
        for protocol, port, version in sorted(ports):
            self._forget(partial(conntrack.forget_sent_to, port=port, protocol=protocol, ipv6=version == 6))

    def end(self, places: Sequence[Place]) -> None:
        """Forget what leads to containers that go."""
        targets = {
            (PROTOCOLS[one.protocol], endpoint.address6 if one.version == 6 else endpoint.address)
            for _, endpoint in places
            for one in endpoint.published
            if one.protocol in _WITHOUT_END
        }
        for protocol, address in sorted(targets):
            packed = ip_address(address).packed
            self._forget(partial(conntrack.forget_answered_by, address=packed, protocol=protocol))

    def _forget(self, task: Callable[[socket], int]) -> None:
        try:
            with self._lock:
                if self._socket is None:
                    self._socket = netsocket.open_socket(conntrack.NETLINK_NETFILTER)
                count = task(self._socket)
        except OSError as exc:
            log.warning("old flows to a port are not forgotten", reason=exc)
            return
        if count:
            log.debug("old flows to a port forgotten", count=count)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
