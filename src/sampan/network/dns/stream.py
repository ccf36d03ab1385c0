"""One TCP connection of a container: messages with their length in front (RFC 7766). Lean."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.network.dns.listener import Listener
    from sampan.network.dns.loop import Loop

IDLE_S = 10.0
_MAX_WAITING = 64 * 1024  # bytes that were read and not answered yet
_TURN = 16


class Stream:
    """Answers what comes over a connection, in whatever order answers are ready; closes itself when idle."""

    def __init__(self, loop: Loop, listener: Listener, sock: socket) -> None:
        self._loop = loop
        self._listener = listener
        self._sock = sock
        self._read = bytearray()
        self._closed = False
        sock.setblocking(False)
        loop.add(sock.fileno(), self._serve)
        self._timer = loop.later(IDLE_S, self.close)

    def close(self) -> None:
        """Close the connection."""
        if not self._closed:
            self._closed = True
            self._timer.cancel()
            self._loop.remove(self._sock.fileno())
            self._sock.close()
            self._listener.dropped(self)

    def _serve(self) -> None:
        try:
            piece = self._sock.recv(_MAX_WAITING)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            return self.close()
        self._read += piece
        self._timer.cancel()
        self._timer = self._loop.later(IDLE_S, self.close)
        while not self._closed and len(self._read) >= 2:
            end = 2 + int.from_bytes(self._read[:2], "big")
            if len(self._read) < end:
                break
            message = bytes(self._read[2:end])
            del self._read[:end]
            self._answer(message)

    def _answer(self, message: bytes) -> None:
        variants = self._listener.ask(message, tcp=True, reply=self._reply)
        if variants:
            self._reply(variants[message[1] % len(variants)] if len(message) > 1 else variants[0])

    def _reply(self, answer: bytes) -> None:
        """Send an answer; a client that does not read its answers loses the connection."""
        if self._closed:
            return
        frame = len(answer).to_bytes(2, "big") + answer
        try:
            whole = self._sock.send(frame) == len(frame)
        except OSError:
            whole = False
        if not whole:
            self.close()
