"""One container's resolver: its two sockets, its view, and the answers it got lately. Lean.

The fast path: a query's bytes behind its number are looked up as they are; what is found there is sent with
the number in front. The table is emptied whenever a name changes anywhere.
"""

from __future__ import annotations

import errno
import os
from _socket import SOL_SOCKET

from sampan import log
from sampan.kernel.sockets import accept
from sampan.network.dns.answers import answer
from sampan.network.dns.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from sampan.network.dns.forward import Forwarder
    from sampan.network.dns.loop import Loop
    from sampan.network.dns.model import View
    from sampan.network.dns.zone import Zone

TURN = (
    32  # queries before another container has its turn; what is left is found at the next (level-triggered)
)
MAX_STREAMS = 32
_MAX_KEPT = 256
_MAX_QUERY = 4096
_SO_RCVBUF = 8
_RECEIVE_BYTES = 256 * 1024  # about 300 queries wait while others have their turn


class Listener:
    """Answers one container's questions until `close`; owns the sockets and the pidfd (-1: none)."""

    def __init__(self, loop: Loop, zone: Zone, forwarder: Forwarder, view: View) -> None:
        self.view = view
        self._loop = loop
        self._zone = zone
        self._forwarder = forwarder
        self._kept: dict[bytes, list[object]] = {}
        self._generation = -1
        self._waiting = [0]
        self._streams: set[Stream] = set()
        self._pidfd = -1
        self._closed = False

    def open(self, udp: socket, tcp: socket, *, namespace: int) -> None:
        """Begin to answer at these sockets. namespace: the inode of their network namespace."""
        self._udp, self._tcp, self.namespace = udp, tcp, namespace
        udp.setsockopt(SOL_SOCKET, _SO_RCVBUF, _RECEIVE_BYTES)
        self._loop.add(udp.fileno(), self._serve_udp)
        self._loop.add(tcp.fileno(), self._accept)

    def watch(self, pidfd: int, ended: Callable[[], None]) -> None:
        """Call when the process behind pidfd (from now on ours) has ended; in place of the one so far."""
        self._drop_pidfd()
        self._pidfd = pidfd
        self._loop.add(pidfd, ended)

    def change(self, view: View) -> None:
        """See through another view from now on."""
        self.view = view
        self._generation = -1

    def close(self) -> None:
        """Close the sockets; questions on their way are given up."""
        if self._closed:
            return
        self._closed = True
        for stream in list(self._streams):
            stream.close()
        for sock in (self._udp, self._tcp):
            self._loop.remove(sock.fileno())
        self._drop_pidfd()
        self._forwarder.forget(self._udp)
        self._udp.close()
        self._tcp.close()

    def _drop_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _serve_udp(self) -> None:
        receive, send, kept = self._udp.recvfrom, self._udp.sendto, self._kept
        if self._generation != self._zone.generation:
            kept.clear()
            self._generation = self._zone.generation
        for _ in range(TURN):
            try:
                data, source = receive(_MAX_QUERY)
            except OSError:  # nothing is there, or an error of an answer before (ICMP)
                return
            found = kept.get(data[2:])
            if found is None:
                self._answer_udp(data, source)
                continue
            turn: int = found[0]  # type: ignore[assignment]  # a list is cheaper than an object here
            found[0] = turn + 1 if turn + 1 < len(found) else 1
            try:
                send(data[:2] + found[turn], source)  # type: ignore[operator]  # as above
            except OSError:
                continue

    def _answer_udp(self, data: bytes, source: tuple[str, int]) -> None:
        def reply(message: bytes) -> None:
            if not self._closed:
                try:
                    self._udp.sendto(message, source)
                except OSError as exc:
                    if exc.errno not in (errno.EAGAIN, errno.ECONNREFUSED, errno.EPERM):
                        log.debug("dns: answer not sent", reason=exc)

        variants = self.ask(data, tcp=False, reply=reply)
        if variants:
            first = int.from_bytes(os.urandom(2), "big") % len(variants)
            reply(variants[first])
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[data[2:]] = [1 + (first + 1) % len(variants), *(variant[2:] for variant in variants)]

    def ask(self, data: bytes, *, tcp: bool, reply: Callable[[bytes], None]) -> list[bytes]:
        """Return the variants of a local answer; none if reply gets the answer later, or none is due."""
        found = answer(self._zone, self.view, data, tcp=tcp)
        if isinstance(found, list):
            return found
        self._forwarder.ask(
            found,
            data,
            servers=self.view.servers,
            near=self._udp,
            stream=tcp,
            waiting=self._waiting,
            reply=reply,
        )
        return []

    def _accept(self) -> None:
        try:
            sock = accept(self._tcp)
        except OSError:
            return
        if len(self._streams) >= MAX_STREAMS:
            sock.close()
            return
        self._streams.add(Stream(self._loop, self, sock))

    def dropped(self, stream: Stream) -> None:
        """Note that a connection is closed."""
        self._streams.discard(stream)
