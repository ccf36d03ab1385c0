"""One client attached to a process's streams: a socket, written and read without ever waiting. Lean.

The socket is a duplicate of one that sampand holds too, so its flags are left alone: each call says
MSG_DONTWAIT. Framing is Docker's: `[number, 0, 0, 0, length as big-endian u32]`, then the bytes.
"""

from __future__ import annotations

import _socket
import struct

from sampan.runtime.launcher.detach_keys import DetachKeys
from sampan.runtime.launcher.loop import HUNG_UP, READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import AttachRequest, DetachReason

    class Owner(Protocol):
        """What a client tells the streams it is attached to."""

        def take_input(self, client: AttachedClient, data: bytes) -> None:
            """The client typed data."""

        def end_input(self, client: AttachedClient) -> None:
            """The client will type nothing more."""

        def has_room(self) -> None:
            """The client has caught up with its output."""

        def client_left(self, client: AttachedClient, reason: DetachReason) -> None:
            """The connection is closed."""


STDOUT = 1
STDERR = 2
END = 5  # of sampan's own sessions (docs/api.md)
CHUNK = 64 * 1024
_LIMIT = 1024 * 1024  # unsent bytes at which the container waits for its reader
_RESUME = _LIMIT // 2
_HEADER = struct.Struct(">BxxxL")
_SEND = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL


class AttachedClient:
    """Sends what the process writes, passes on what the client types, notices when it leaves."""

    def __init__(self, loop: Loop, request: AttachRequest, owner: Owner) -> None:
        """Take over request.fd; it is closed when the client leaves."""
        self.id = request.attach_id
        self._loop = loop
        self._owner = owner
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, request.fd)
        self._fd = request.fd
        self._framed = request.framed
        self._wanted = (request.stdout and STDOUT) | (request.stderr and STDERR)
        self._keys = DetachKeys(request.detach_keys)
        self._end_frame = request.end_frame
        self._pending = bytearray()
        self._full = False
        self._typing = request.stdin  # its input has not ended
        self._accepting = request.stdin  # the process has room for input
        self._finishing = False
        self._held = False
        self._open = True
        loop.watch(self._fd, self._mask(), self._on_events)

    @property
    def full(self) -> bool:
        """Whether so much is unsent that the process has to wait."""
        return self._full

    @property
    def held(self) -> bool:
        """Whether its output waits for `let_go`."""
        return self._held

    def hold(self) -> None:
        """Keep what it is sent: somebody else writes to its connection first."""
        self._held = True
        self._update()

    def let_go(self) -> None:
        """Send what was kept, and all that follows at once."""
        self._held = False
        if self._finishing and not self._pending:
            self._leave("eof")
        self._update()

    def drop(self) -> None:
        """End the connection now: who held it has gone."""
        self._leave("gone")

    def send(self, number: int, data: bytes) -> None:
        """Send data of stream number (STDOUT, STDERR) if the client asked for it; keep what does not fit."""
        if self._wanted & number:
            self._queue(number, data)

    def _queue(self, number: int, data: bytes) -> None:
        if not self._open:
            return
        header = _HEADER.pack(number, len(data)) if self._framed else b""
        if self._pending or self._held:
            self._pending += header
            self._pending += data
        else:
            self._send_now(header, data)
        self._full = self._full or len(self._pending) > _LIMIT

    def accept_input(self, wanted: bool) -> None:
        """Read what the client types, or leave it in the socket while the process has no room for it."""
        if self._accepting != wanted:
            self._accepting = wanted
            self._update()

    @property
    def wants_end(self) -> bool:
        """Whether the client is told how the process ended."""
        return self._end_frame

    def finish(self, code: int | None) -> None:
        """Close once everything is sent: the output has ended, and the process with this code."""
        if self._finishing:
            return
        if self._end_frame and code is not None:
            self._queue(END, b'{"StatusCode":%d,"Error":"","Hint":""}' % code)
        self._finishing = True
        if not (self._pending or self._held):
            self._leave("eof")

    def _send_now(self, header: bytes, data: bytes) -> None:
        try:
            sent = self._sock.sendmsg([header, data], [], _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._leave("gone")
            return
        if sent < len(header) + len(data):
            self._pending += (header + data)[sent:]
            self._update()

    def _on_events(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if (
            self._open
            and events & (READABLE | HUNG_UP)
            and self._typing
            and self._accepting
            and not self._held
        ):
            self._read()
        if self._open and events & HUNG_UP:
            self._hang_up()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._pending[:CHUNK], _SEND)
        except BlockingIOError:
            return
        except OSError:
            self._leave("gone")
            return
        del self._pending[:sent]
        if not self._pending:
            if self._finishing:
                self._leave("eof")
                return
            self._update()
        if self._full and len(self._pending) < _RESUME:
            self._full = False
            self._owner.has_room()

    def _read(self) -> bool:
        """Pass on one read of input; False if there was none."""
        try:
            data = self._sock.recv(CHUNK, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end_input()
            return False
        passed, detached = self._keys.feed(data)
        if passed:
            self._owner.take_input(self, passed)
        if detached:
            self._leave("keys")
        return self._open

    def _end_input(self) -> None:
        self._typing = False
        held = self._keys.finish()
        if held:
            self._owner.take_input(self, held)
        if self._open:
            self._update()
            self._owner.end_input(self)

    def _hang_up(self) -> None:
        """The other end is closed both ways: take what it typed before (a socket buffer at most) and go."""
        while self._typing and self._read():
            pass
        if self._open:
            self._leave("gone")

    def _leave(self, reason: DetachReason) -> None:
        if not self._open:
            return
        self._open = False
        self._full = False
        self._pending.clear()
        self._loop.forget(self._fd)
        if not (self._end_frame and reason == "eof"):
            self._shut_down(reason)
        self._sock.close()
        self._owner.client_left(self, reason)

    def _shut_down(self, reason: DetachReason) -> None:
        """Let the client see the end: sampand may hold a duplicate, so that closing ours does not show."""
        try:
            self._sock.shutdown(_socket.SHUT_RDWR if reason == "keys" else _socket.SHUT_WR)
        except OSError:
            pass  # it is closed at the other end

    def _mask(self) -> int:
        if self._held:
            return 0
        reading = READABLE if self._typing and self._accepting else 0
        return reading | (WRITABLE if self._pending else 0)

    def _update(self) -> None:
        if self._open:
            self._loop.change(self._fd, self._mask())
