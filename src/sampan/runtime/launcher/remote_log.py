"""A socket to a log server: connected again when it was lost, one packet or stream of messages. Lean.

Runs in the thread of a log_queue, so that it may wait. A message counts as delivered when the kernel has
taken all of it; after a broken connection the first one that was not is sent again, whole.
"""

from __future__ import annotations

import _socket
import select

from sampan.runtime.launcher.log_queue import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class Connection(Protocol):
        """What we use of a socket, a TLS one too."""

        def send(self, data: bytes, /) -> int: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...


_RETRY_S = 1.0
_SLICE_S = 0.5  # how long a send may wait before it is asked whether the shim ends
_GONE = select.POLLHUP | select.POLLERR | select.POLLRDHUP


class RemoteSocket:
    """Delivers messages in order. away: not reachable now."""

    def __init__(self, connect: Callable[[], Connection], *, packets: bool) -> None:
        """Use connect for each connection; packets: each message is one datagram."""
        self._connect = connect
        self._packets = packets
        self._connection: Connection | None = None
        self.away = False
        self.stop = Stop()
        self.dropped_bytes = 0

    def deliver(self, messages: Sequence[bytes]) -> None:
        """Send messages, however long that takes; give up only when asked to stop."""
        rest = list(messages)
        while rest and not self.stop.asked:
            try:
                connection = self._get_connection()
                if self._packets:
                    self._send(connection, rest[0])
                    del rest[0]
                else:
                    self._send_stream(connection, rest)
            except OSError as exc:
                if self._packets and _is_refused(exc):
                    self.dropped_bytes += len(rest.pop(0))
                    continue
                self._lose()
        self.dropped_bytes += sum(map(len, rest))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get_connection(self) -> Connection:
        if self._connection is not None and not self._packets and _has_hung_up(self._connection.fileno()):
            self.close()
        if self._connection is None:
            self._connection = self._connect()
            self._set_away(False)
        return self._connection

    def _send_stream(self, connection: Connection, rest: list[bytes]) -> None:
        """Send all of rest as one piece; after an error it begins with the first message not sent."""
        data = b"".join(rest)
        sent = 0
        try:
            while sent < len(data):
                sent += self._send(connection, data[sent : sent + 65536])
        finally:
            while rest and sent >= len(rest[0]):
                sent -= len(rest.pop(0))

    def _send(self, connection: Connection, data: bytes) -> int:
        while True:
            try:
                return connection.send(data)
            except TimeoutError:
                if self.stop.asked:
                    raise

    def _lose(self) -> None:
        self.close()
        if not self.stop.asked:
            self._set_away(True)
            self.stop.wait(_RETRY_S)

    def _set_away(self, away: bool) -> None:
        if self.away != away:
            self.away = away
            self.stop.on_change()


def _is_refused(error: OSError) -> bool:
    """Tell whether a datagram can never be sent: it is too large."""
    import errno

    return error.errno == errno.EMSGSIZE


def _has_hung_up(fd: int) -> bool:
    """Tell whether the other end has closed: the kernel would still take a message, and lose it."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return any(events & _GONE for _, events in poll.poll(0))


def open_socket(family: int, kind: int, address: object) -> _socket.socket:
    """Return a connected socket whose sends wait no longer than a moment at a time.

    Raises:
        OSError: nobody listens there.
    """
    sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(5.0)
        sock.connect(address)  # type: ignore[arg-type]  # a path, or host and port
        sock.settimeout(_SLICE_S)
    except BaseException:
        sock.close()
        raise
    return sock
