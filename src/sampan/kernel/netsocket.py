"""A netlink socket that stays in the network namespace it was made in: batches, answers, dumps. Lean.

Whoever holds the socket drives that namespace from outside, without ever entering it (netlink(7)).
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_NETLINK,
    SO_RCVBUF,
    SO_SNDBUF,
    SOCK_CLOEXEC,
    SOCK_RAW,
    SOL_SOCKET,
    socket,
    timeout,
)

from sampan.kernel.netlink import NETLINK_ROUTE, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, pack_message
from sampan.kernel.syscall import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NLMSG_DONE = 3
NLM_F_DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
_NLMSGHDR = struct.Struct("=IHHII")
_ANSWER_S = 10.0
_RECEIVE = 1 << 17


class Request:
    """One message to send: its kind, flags beside REQUEST and ACK, body, and what it does, for an error."""

    __slots__ = ("body", "flags", "ignore", "kind", "what")

    def __init__(
        self, kind: int, body: bytes, *, what: str, flags: int = 0, ignore: Sequence[int] = ()
    ) -> None:
        """ignore: errnos that mean it is done already."""
        self.kind = kind
        self.body = body
        self.what = what
        self.flags = flags
        self.ignore = ignore


def open_socket(protocol: int = NETLINK_ROUTE) -> socket:
    """Return a netlink socket in the calling thread's network namespace."""
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    sock.settimeout(_ANSWER_S)
    return sock


def widen(sock: socket, size_bytes: int) -> None:
    """Let one message be that long: a transaction is one."""
    sock.setsockopt(SOL_SOCKET, SO_SNDBUF, size_bytes)
    sock.setsockopt(SOL_SOCKET, SO_RCVBUF, size_bytes)


def run(sock: socket, requests: Sequence[Request]) -> None:
    """Send requests as one packet; the kernel does them in order and goes on after one that fails.

    Without any nothing is sent: the kernel refuses an empty packet (ENODATA). Not for two threads at once:
    the answers are this call's.

    Raises:
        OSError: the first failure that its request does not ignore; what is in the text.
    """
    if not requests:
        return
    first = next_sequence()
    messages = [
        pack_message(
            request.kind, NLM_F_REQUEST | NLM_F_ACK | request.flags, request.body, sequence=first + place
        )
        for place, request in enumerate(requests)
    ]
    send(sock, b"".join(messages))
    waiting = {first + place: request for place, request in enumerate(requests)}
    _next[0] += len(requests)
    error = None
    while waiting:
        for kind, sequence, payload in receive(sock):
            request = waiting.pop(sequence, None) if kind == NLMSG_ERROR else None
            if request is None:
                continue
            number = -int(struct.unpack_from("=i", payload)[0])
            if number and number not in request.ignore and error is None:
                error = fail(number, request.what)
    if error is not None:
        raise error


_next = [int.from_bytes(os.urandom(2), "little") + 1]


def next_sequence() -> int:
    """Return a number that this process has not used for a while."""
    _next[0] = (_next[0] + 1) & 0x3FFFFFFF
    return _next[0]


def dump(sock: socket, kind: int, body: bytes, *, what: str) -> list[tuple[int, bytes]]:
    """Return (kind, body) of everything the kernel lists.

    Raises:
        OSError: it refuses.
    """
    sequence = next_sequence()
    send(sock, pack_message(kind, NLM_F_REQUEST | NLM_F_DUMP, body, sequence=sequence))
    found: list[tuple[int, bytes]] = []
    while True:
        for answer, number, payload in receive(sock):
            if number != sequence:
                continue  # of an earlier request that was given up
            if answer in (NLMSG_DONE, NLMSG_ERROR):
                code = -int(struct.unpack_from("=i", payload)[0]) if len(payload) >= 4 else 0
                if code:
                    raise fail(code, what)
                return found
            found.append((answer, payload))


def send(sock: socket, data: bytes) -> None:
    """Send one packet whole."""
    if sock.send(data) != len(data):
        raise fail(errno.EMSGSIZE, "netlink: a packet was cut off")


def receive(sock: socket) -> list[tuple[int, int, bytes]]:
    """Return (kind, sequence, payload) of each message in the next packet.

    Raises:
        OSError: ETIMEDOUT, nothing came.
    """
    try:
        data = sock.recv(_RECEIVE)
    except timeout:
        raise fail(errno.ETIMEDOUT, "netlink: no answer") from None
    messages = []
    offset = 0
    while offset + _NLMSGHDR.size <= len(data):
        length, kind, _flags, sequence, _port = _NLMSGHDR.unpack_from(data, offset)
        if length < _NLMSGHDR.size:
            raise fail(errno.EBADMSG, "netlink: a message is cut off")
        messages.append((kind, sequence, data[offset + _NLMSGHDR.size : offset + length]))
        offset += length + -length % 4
    return messages
