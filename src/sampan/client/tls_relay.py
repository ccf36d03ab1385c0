"""Copies between a TLS connection and a plain socket; never blocks, so that a thread or a loop may drive it.

Whoever drives it calls `step`, then waits for `net_events` and `local_events`, until `finished`. One piece
is held each way at most: a side that does not read stops the other.

A direction ends by itself: end of file on the plain side sends close_notify, close_notify shuts the plain
side for writing. The TCP connection ends when both directions have, when the plain side is closed
altogether, or when the peer ends it.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

_PIECE: Final = 64 * 1024


class TlsRelay:
    """One connection; owns both sockets.

    one_way: the plain side's end of file means that it wants nothing more (a server's answer is complete).
    """

    def __init__(
        self,
        net: socket.socket,
        local: socket.socket,
        context: ssl.SSLContext,
        *,
        server_name: str = "",
        one_way: bool = False,
    ) -> None:
        net.setblocking(False)
        local.setblocking(False)
        self.net, self.local = net, local
        self.established = False
        self.finished = False
        self.failure = ""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=not server_name, server_hostname=server_name or None
        )
        self._one_way = one_way
        self._to_net = self._to_local = b""
        self._net_ended = self._peer_ended = self._local_ended = False

    def net_events(self) -> int:
        """Return what to wait for on the TCP side, as poll(2) has it."""
        reads = not self._to_local and not self._net_ended
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._to_net else 0)

    def local_events(self) -> int:
        """Return what to wait for on the plain side; POLLHUP comes unasked."""
        reads = self.established and not self._to_net and not self._local_ended
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._to_local else 0)

    def close(self) -> None:
        """Close both sides."""
        self.finished = True
        self.net.close()
        self.local.close()

    def step(self) -> None:
        """Move what can be moved now. Errors end the relay; `failure` says which."""
        try:
            self._turn()
            while self._can_decrypt_more():  # no event will tell of what has been received already
                self._turn()
        except ssl.SSLError as exc:
            self.failure = (exc.reason or str(exc)).replace("_", " ").lower()
            if isinstance(exc, ssl.SSLCertVerificationError):
                self.failure = exc.verify_message
            self._send_alert()
            self.finished = True
        except OSError as exc:
            self.failure = exc.strerror or str(exc)
            self.finished = True

    def _turn(self) -> None:
        self._receive()
        self._decrypt()
        self._encrypt()
        self._flush()

    def _can_decrypt_more(self) -> bool:
        held = self.established and (self._incoming.pending or self._tls.pending())
        return bool(held) and not (self._to_local or self._peer_ended or self.finished)

    def _receive(self) -> None:
        if self._to_local or self._net_ended:
            return
        try:
            data = self.net.recv(_PIECE)
        except BlockingIOError:
            return
        if data:
            self._incoming.write(data)
        else:
            self._net_ended = True
            self._incoming.write_eof()

    def _decrypt(self) -> None:
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            while not self._peer_ended and len(self._to_local) < _PIECE:
                data = self._tls.read(_PIECE)
                self._peer_ended = not data
                self._to_local += data
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._peer_ended = True

    def _encrypt(self) -> None:
        if self.established and not self._to_net and not self._local_ended:
            try:
                data = self.local.recv(_PIECE)
            except BlockingIOError:
                data = None
            if data:
                self._tls.write(data)
            elif data is not None:
                self._local_ended = True
                self._notify_end()
        self._to_net += self._outgoing.read()

    def _notify_end(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's own end has not come yet

    def _send_alert(self) -> None:
        try:
            self.net.send(self._to_net + self._outgoing.read())
        except OSError:
            pass  # it has gone

    def _flush(self) -> None:
        self._to_net = _send(self.net, self._to_net)
        self._to_local = _send(self.local, self._to_local)
        if self._to_net or self._to_local:
            return
        if self._peer_ended and not self._net_ended and not self._local_ended:
            self.local.shutdown(socket.SHUT_WR)  # again and again does no harm
        self.finished = (
            self._net_ended
            or (self._peer_ended and self._local_ended)
            or (self._local_ended and (self._one_way or self._is_abandoned()))
        )

    def _is_abandoned(self) -> bool:
        """Tell whether the plain side was closed altogether, not only for writing."""
        poller = select.poll()
        poller.register(self.local, 0)
        return any(events & select.POLLHUP for _, events in poller.poll(0))


def _send(sock: socket.socket, data: bytes) -> bytes:
    """Return what could not be sent now."""
    try:
        return data[sock.send(data) :] if data else b""
    except BlockingIOError:
        return data
