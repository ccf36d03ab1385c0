"""One attempt to ask one upstream server, by UDP or TCP. Lean."""

from __future__ import annotations

import errno
import struct
from _socket import SO_ERROR, SOL_SOCKET

from sampan.network.dns.loop import READ, WRITE
from sampan.network.dns.sockets import open_client
from sampan.network.dns.wire import is_answer_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from sampan.network.dns.loop import Loop
    from sampan.network.dns.model import Server

_WRONG_ANSWERS = 16  # read at once before others get their turn


class Attempt:
    """A query on its way to a server. Calls `done` once: with the answer, or None when the server failed."""

    def __init__(self, loop: Loop, server: Server, query: bytes, question_end: int) -> None:
        self.server = server
        self._loop = loop
        self._query = query
        self._end = question_end
        self._sock: socket | None = None
        self._done: Callable[[Attempt, bytes | None], None] | None = None
        self._read = bytearray()

    def start(
        self, *, stream: bool, near: socket | None, done: Callable[[Attempt, bytes | None], None]
    ) -> None:
        """Ask.

        Raises:
            OSError: the server cannot be reached; `done` is not called.
        """
        self._sock = sock = open_client(self.server.address, stream=stream, near=near)
        try:
            number = sock.connect_ex((self.server.address, self.server.port))
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, "connect")
            if not stream:
                sock.send(self._query)
        except BaseException:
            sock.close()
            raise
        self._done = done
        if stream:
            self._loop.add(sock.fileno(), self._send_stream, WRITE)
        else:
            self._loop.add(sock.fileno(), self._read_datagrams, READ)

    def close(self) -> None:
        """Give up; `done` is not called any more."""
        self._done = None
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove(sock.fileno())
            sock.close()

    def _finish(self, answer: bytes | None) -> None:
        done = self._done
        self.close()
        if done is not None:
            done(self, answer)

    def _read_datagrams(self) -> None:
        assert self._sock is not None
        for _ in range(_WRONG_ANSWERS):
            try:
                answer = self._sock.recv(0xFFFF)
            except BlockingIOError:
                return
            except OSError:  # ECONNREFUSED, EHOSTUNREACH: what ICMP said
                return self._finish(None)
            if is_answer_to(answer, self._query, self._end):
                return self._finish(answer)

    def _send_stream(self) -> None:
        assert self._sock is not None
        try:
            number = self._sock.getsockopt(SOL_SOCKET, SO_ERROR)
            frame = struct.pack("!H", len(self._query)) + self._query
            if number or self._sock.send(frame) != len(frame):  # an empty socket takes any query whole
                return self._finish(None)
        except OSError:
            return self._finish(None)
        self._loop.change(self._sock.fileno(), self._read_stream, READ)

    def _read_stream(self) -> None:
        assert self._sock is not None
        try:
            piece = self._sock.recv(0xFFFF)
        except BlockingIOError:
            return
        except OSError:
            return self._finish(None)
        self._read += piece
        length = int.from_bytes(self._read[:2], "big") + 2
        if len(self._read) >= max(length, 2):
            answer = bytes(self._read[2:length])
            self._finish(answer if is_answer_to(answer, self._query, self._end) else None)
        elif not piece:
            self._finish(None)
