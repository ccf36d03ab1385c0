"""sampand's messages to sampan-dns: a list of changes in each, one answer for each message. Lean.

A message is `{"changes": [{"do": …, …}, …]}` with the descriptors that its changes take, in their order; the
answer is `{"failed": [[index, text], …]}`. What failed has changed nothing; the others are done.

A `sync` begins with `begin` and ends with `end`: what was not said between them is dropped.
"""

from __future__ import annotations

import os

from sampan import fastjson, log
from sampan.errors import InvalidArgument, NotFound, SampanError
from sampan.kernel.sockets import receive_message, send_message
from sampan.network.dns.listener import Listener
from sampan.network.dns.model import unpack_endpoint, unpack_network, unpack_view
from sampan.network.dns.sockets import open_resolver_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from sampan.fastjson import JsonValue
    from sampan.network.dns.forward import Forwarder
    from sampan.network.dns.loop import Loop
    from sampan.network.dns.zone import Zone

    _Document = dict[str, JsonValue]

MAX_FDS = 200
# `do` of each change; serve takes the network namespace, watch the container's first process (a pidfd).
BEGIN, END, NETWORK, DROP, PUBLISH, WITHDRAW, SERVE, VIEW, WATCH, STOP = (
    "begin end network drop publish withdraw serve view watch stop".split()
)
_TAKES_FD = (SERVE, WATCH)


class Control:
    """Carries out changes; owns the listeners."""

    def __init__(self, loop: Loop, zone: Zone, forwarder: Forwarder) -> None:
        self._loop = loop
        self._zone = zone
        self._forwarder = forwarder
        self.listeners: dict[str, Listener] = {}
        self._said: tuple[set[str], set[tuple[str, str]], set[str]] | None = None  # since `begin`
        self._calls: dict[str, Callable[[_Document, list[int]], None]] = {
            BEGIN: self._begin,
            END: self._end,
            NETWORK: self._network,
            DROP: lambda raw, _: self._zone.drop_network(_text(raw, "network")),
            PUBLISH: self._publish,
            WITHDRAW: lambda raw, _: self._zone.withdraw(_text(raw, "network"), _text(raw, "container")),
            SERVE: self._serve,
            VIEW: self._view,
            WATCH: self._watch,
            STOP: lambda raw, _: self._stop(_text(raw, "container")),
        }

    def answer(self, sock: socket) -> bool:
        """Carry out one message and answer it; False when the connection has ended.

        Raises:
            OSError: the connection broke.
            SampanError: it was no message of this protocol.
        """
        body, fds = receive_message(sock, max_fds=MAX_FDS)
        if not body:
            return False
        try:
            failed = self._apply(_changes(body), fds)
        finally:
            for fd in fds:
                os.close(fd)
        send_message(sock, fastjson.dumps({"failed": failed}).encode())
        return True

    def _apply(self, changes: list[_Document], fds: list[int]) -> list[list[JsonValue]]:
        """Carry out changes; descriptors that a listener keeps are taken out of fds."""
        failed: list[list[JsonValue]] = []
        for index, change in enumerate(changes):
            action = change.get("do")
            given = [fds.pop(0)] if action in _TAKES_FD and fds else []
            try:
                call = self._calls.get(action) if isinstance(action, str) else None
                if call is None or (action in _TAKES_FD and not given):
                    raise InvalidArgument(f"change {index} is not understood")
                call(change, given)
            except (SampanError, OSError) as exc:
                failed.append([index, str(exc)])
            finally:
                fds += given  # closed by the caller, unless the call took it
        return failed

    def _begin(self, _raw: _Document, _fds: list[int]) -> None:
        self._said = (set(), set(), set())

    def _end(self, _raw: _Document, _fds: list[int]) -> None:
        if self._said is None:
            return
        (networks, endpoints, containers), self._said = self._said, None
        known_networks, known_endpoints = self._zone.keys()
        for network, container in known_endpoints:
            if (network, container) not in endpoints:
                self._zone.withdraw(network, container)
        for network in known_networks:
            if network not in networks:
                self._zone.drop_network(network)
        for container in [name for name in self.listeners if name not in containers]:
            self._stop(container)

    def _network(self, raw: _Document, _fds: list[int]) -> None:
        network = unpack_network(raw)
        self._zone.put_network(network)
        if self._said is not None:
            self._said[0].add(network.id)

    def _publish(self, raw: _Document, _fds: list[int]) -> None:
        endpoint = unpack_endpoint(raw)
        self._zone.publish(endpoint)
        if self._said is not None:
            self._said[1].add((endpoint.network, endpoint.container))

    def _serve(self, raw: _Document, fds: list[int]) -> None:
        """Listen for a container; one that is served already keeps its sockets."""
        view = unpack_view(raw)
        if self._said is not None:
            self._said[2].add(view.container)
        listener = self.listeners.get(view.container)
        if listener is not None and not _same_namespace(listener, fds[0]):
            self._stop(view.container)
            listener = None
        if listener is not None:
            listener.change(view)
            return
        udp, tcp = open_resolver_sockets(fds[0])
        listener = self.listeners[view.container] = Listener(self._loop, self._zone, self._forwarder, view)
        listener.open(udp, tcp, namespace=os.fstat(fds[0]).st_ino)

    def _view(self, raw: _Document, _fds: list[int]) -> None:
        view = unpack_view(raw)
        self._get(view.container).change(view)

    def _watch(self, raw: _Document, fds: list[int]) -> None:
        container = _text(raw, "container")
        listener = self._get(container)

        def ended() -> None:
            log.debug("dns: container has ended", container=container)
            self._stop(container)

        listener.watch(fds.pop(), ended)

    def _stop(self, container: str) -> None:
        listener = self.listeners.pop(container, None)
        if listener is not None:
            listener.close()

    def _get(self, container: str) -> Listener:
        listener = self.listeners.get(container)
        if listener is None:
            raise NotFound(f"container {container} has no resolver")
        return listener


def _same_namespace(listener: Listener, fd: int) -> bool:
    return listener.namespace == os.fstat(fd).st_ino


def _changes(body: bytes) -> list[_Document]:
    document = fastjson.loads(body)
    changes = document.get("changes") if isinstance(document, dict) else None
    if not isinstance(changes, list):
        raise InvalidArgument("no list of changes")
    return [change if isinstance(change, dict) else {} for change in changes]


def _text(raw: _Document, key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise InvalidArgument(f"{key} is not text")
    return value
