"""Records as entries of systemd's journal, by its native protocol. Lean.

target: socket, and one `field.NAME` for each field that all entries carry. An entry too large for a datagram
goes as a sealed memfd. Source: systemd, "Native Journal Protocol"; moby, daemon/logger/journald (fields).
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from sampan.kernel.files import memfd_sealed
from sampan.runtime.launcher.json_lines import Clock
from sampan.runtime.launcher.remote_log import RemoteSocket, open_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ERROR = b"3"
_INFORMATION = b"6"
_FIELD = "field."
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


class _JournalSocket:
    """A datagram socket that knows how to send what is too large."""

    def __init__(self, path: str) -> None:
        self._sock = open_socket(_socket.AF_UNIX, _socket.SOCK_DGRAM, path)

    def send(self, data: bytes, /) -> int:
        try:
            return self._sock.send(data)
        except OSError as exc:
            if exc.errno not in _TOO_LARGE:
                raise
        fd = memfd_sealed("sampan-journal", data)
        try:
            fds = struct.pack("i", fd)
            self._sock.sendmsg([], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
        finally:
            os.close(fd)
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


class _Long:
    """A line that comes in parts."""

    def __init__(self) -> None:
        self.id = os.urandom(32).hex()
        self.ordinal = 0


class JournalLog(RemoteSocket):
    """A sink; one entry for each record."""

    def __init__(self, target: Mapping[str, str]) -> None:
        super().__init__(lambda: _JournalSocket(target["socket"]), packets=True)
        fields = {name[len(_FIELD) :]: value for name, value in target.items() if name.startswith(_FIELD)}
        self._fields = b"".join(field(name, value.encode()) for name, value in sorted(fields.items()))
        self._clock = Clock()
        self._long: dict[str, _Long] = {}

    def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
        """Send an entry for each record."""
        priority = field("PRIORITY", _ERROR if stream == "stderr" else _INFORMATION)
        stamp = field("SYSLOG_TIMESTAMP", self._clock.render(at_ns).encode())
        head = self._fields + priority + stamp
        entries = []
        for piece in pieces:
            whole, newline, part = piece.rpartition(b"\n")
            if newline:
                for line in whole.split(b"\n"):
                    entries.append(head + self._part(stream, last=True) + field("MESSAGE", line))
            if part:
                entries.append(head + self._part(stream, last=False) + field("MESSAGE", part))
        self.deliver(entries)

    def clear(self) -> None:
        """What was sent is sent."""

    def _part(self, stream: str, *, last: bool) -> bytes:
        """Return the fields that tell the parts of a long line; none for a line that came whole."""
        line = self._long.pop(stream, None)
        if line is None:
            if last:
                return b""
            line = _Long()
        line.ordinal += 1
        if not last:
            self._long[stream] = line
        return (
            field("CONTAINER_PARTIAL_ID", line.id.encode())
            + field("CONTAINER_PARTIAL_ORDINAL", b"%d" % line.ordinal)
            + field("CONTAINER_PARTIAL_LAST", b"true" if last else b"false")
            + (b"" if last else field("CONTAINER_PARTIAL_MESSAGE", b"true"))
        )


def field(name: str, value: bytes) -> bytes:
    """Return one field of an entry; a value with a newline goes behind its length."""
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return b"%s=%s\n" % (name.encode(), value)
