"""A D-Bus client as small as talking to systemd needs: calls with their answers, and signals. Lean.

One caller, one call at a time, over a unix socket; no descriptors are passed. A message bus wants a greeting
and a list of the signals one waits for; a direct connection, as systemd's own private socket, does not.
Decision 0013. Source: D-Bus Specification 0.42.
"""

from __future__ import annotations

import os
import struct
from _socket import MSG_NOSIGNAL, timeout

from sampan.errors import InvalidArgument, SampanError
from sampan.kernel.dbus_wire import pack, unpack
from sampan.kernel.sockets import connect_at
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

TIMEOUT_S = 30.0
_MAX_MESSAGE = 1 << 20  # what we ask for is a few hundred bytes
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
# Header fields: path, interface, member, error name, reply serial, destination, sender, signature.
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_FIXED = struct.Struct("<4B3I")  # byte order, type, flags, version; length of body, serial, length of fields


class BusError(SampanError):
    """The other side refused a call; name is the D-Bus name of its error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name


@record
class Message:
    """One message that came in. fields are keyed by the numbers of header fields."""

    kind: int
    fields: dict[int, object]
    body: tuple[object, ...]


def socket_path(address: str) -> str:
    """Return the path in the first `unix:path=` of a D-Bus address, "" if there is none.

    Source: D-Bus Specification, "Server Addresses": bytes may be written as %xx.
    """
    for part in address.split(";"):
        transport, _, keys = part.partition(":")
        for pair in keys.split(","):
            key, _, value = pair.partition("=")
            if transport == "unix" and key == "path":
                first, *rest = value.split("%")
                raw = b"".join(
                    [first.encode(), *(bytes.fromhex(item[:2]) + item[2:].encode() for item in rest)]
                )
                return os.fsdecode(raw)
    return ""


class Connection:
    """A connection to a bus or a peer; a timeout or an end of file makes it useless."""

    def __init__(self, path: str, *, bus: bool) -> None:
        """Connect and authenticate as our effective user. bus: a message bus answers, not a peer.

        Raises:
            OSError: nobody listens at path, or it does not speak D-Bus.
        """
        self._path = path
        self._serial = 0
        self._buffer = b""
        self._signals: list[Message] = []
        folder, _, name = path.rpartition("/")
        self._socket: socket = connect_at(folder or "/", name)
        try:
            self._socket.settimeout(TIMEOUT_S)
            self._authenticate()
            if bus:
                self._call_bus("Hello", "", ())
        except BaseException:
            self._socket.close()
            raise
        self._is_bus = bus

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _authenticate(self) -> None:
        # BEGIN goes ahead of the answer: systemd 252, when it reads BEGIN and a first message at once, leaves
        # the message lying until more comes. So it has read BEGIN before it sees a message.
        self._send(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")
        while b"\r\n" not in self._buffer:
            self._receive()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise PermissionError(1, f"D-Bus authentication refused: {line[:80]!r}", self._path)

    def watch(self, sender: str, interface: str, member: str) -> None:
        """Let a signal be delivered to us; `wait_signal` returns it."""
        if self._is_bus:
            rule = f"type='signal',sender='{sender}',interface='{interface}',member='{member}'"
            self._call_bus("AddMatch", "s", (rule,))

    def _call_bus(self, member: str, signature: str, values: tuple[object, ...]) -> None:
        name = "org.freedesktop.DBus"
        self.call((name, "/org/freedesktop/DBus", name), member, signature, values)

    def call(
        self, target: tuple[str, str, str], member: str, signature: str = "", values: tuple[object, ...] = ()
    ) -> tuple[object, ...]:
        """Call a method of target (destination, object path, interface) and return what it answers.

        Raises:
            BusError: an error came back.
            OSError: the connection broke; ETIMEDOUT, no answer came in time.
        """
        destination, path, interface = target
        self._serial += 1
        fields: list[object] = [
            (_PATH, ("o", path)),
            (_INTERFACE, ("s", interface)),
            (_MEMBER, ("s", member)),
            (_DESTINATION, ("s", destination)),
        ]
        if signature:
            fields.append((_SIGNATURE, ("g", signature)))
        body = pack(signature, values)
        header = pack("yyyyuua(yv)", (ord("l"), _CALL, 0, 1, len(body), self._serial, fields))
        self._send(header + bytes(-len(header) % 8) + body)
        while True:
            message = self._next_message()
            if message.fields.get(_REPLY) == self._serial and message.kind == _RETURN:
                return message.body
            if message.fields.get(_REPLY) == self._serial and message.kind == _ERROR:
                text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                raise BusError(str(message.fields.get(_ERROR_NAME, "")), text)
            if message.kind == _SIGNAL:
                self._signals.append(message)

    def wait_signal(self, member: str, fits: Callable[[tuple[object, ...]], bool]) -> tuple[object, ...]:
        """Return the values of the first signal of this name that fits, those that came before included.

        Raises:
            OSError: the connection broke; ETIMEDOUT: none came in time.
        """
        while True:
            while self._signals:
                message = self._signals.pop(0)
                if message.fields.get(_MEMBER) == member and fits(message.body):
                    return message.body
            message = self._next_message()
            if message.kind == _SIGNAL:
                self._signals.append(message)

    def _send(self, data: bytes) -> None:
        while data:
            data = data[self._socket.send(data, MSG_NOSIGNAL) :]

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except timeout as exc:
            raise TimeoutError(110, f"no answer within {TIMEOUT_S:g} s", self._path) from exc
        if not data:
            raise ConnectionResetError(104, "the connection was closed", self._path)
        self._buffer += data

    def _next_message(self) -> Message:
        while (total := _total_length(self._buffer)) == 0 or len(self._buffer) < total:
            self._receive()
        raw, self._buffer = self._buffer[:total], self._buffer[total:]
        kind, body_length = raw[1], _FIXED.unpack_from(raw)[4]
        listed = unpack("yyyyuua(yv)", raw)[6]
        assert isinstance(listed, list)  # by its signature
        fields = {number: value for number, (_, value) in listed}
        signature = fields.get(_SIGNATURE, "")
        return Message(kind=kind, fields=fields, body=unpack(str(signature), raw[total - body_length :]))


def _total_length(data: bytes) -> int:
    """Return the length of the message that data begins with, 0 while that cannot be known."""
    if len(data) < _FIXED.size:
        return 0
    order, _, _, _, body, _, fields = _FIXED.unpack_from(data)
    if order != ord("l"):
        raise InvalidArgument("a D-Bus message in big-endian order came from this machine")
    total = _FIXED.size + fields + -(_FIXED.size + fields) % 8 + body
    if total > _MAX_MESSAGE:
        raise InvalidArgument(f"a D-Bus message of {total} bytes came; the limit is {_MAX_MESSAGE}")
    return int(total)
