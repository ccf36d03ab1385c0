"""rtnetlink messages packed by hand: headers, attributes, one request and its answer.

An attribute's length field has 16 bits. The encoder refuses what does not fit instead of letting the length
wrap around, which let one attribute's content be read as further ones (CVE-2021-43784).
Source: netlink(7), rtnetlink(7), include/uapi/linux/{netlink,rtnetlink}.h.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

from sampan.kernel.syscall import fail

NETLINK_ROUTE = 0
NLMSG_ERROR = 2
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLA_F_NESTED = 0x8000
RTM_NEWLINK = 16
IFF_UP = 0x1
LOOPBACK_INDEX = 1  # net/core/dev.c: the first device of every network namespace

_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_NLATTR = struct.Struct("=HH")  # length with this header, type
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_MAX_ATTRIBUTE = 0xFFFF
_MAX_MESSAGE = 0xFFFFFFFF


def pack_attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to 4 bytes.

    Raises:
        ValueError: header and payload exceed 65,535 bytes.
    """
    length = _NLATTR.size + len(payload)
    if length > _MAX_ATTRIBUTE:
        raise ValueError(f"netlink attribute {kind}: {length} bytes do not fit its 16-bit length")
    return _NLATTR.pack(length, kind) + payload + bytes(-length % 4)


def pack_nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds already packed ones.

    Raises:
        ValueError: together they exceed 65,535 bytes.
    """
    return pack_attribute(kind | NLA_F_NESTED, b"".join(attributes))


def unpack_attributes(data: bytes) -> list[tuple[int, bytes]]:
    """Return the (kind, payload) of each attribute in data; the nested flag is left in kind.

    Raises:
        ValueError: a length is shorter than its header or points past the end.
    """
    attributes = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _NLATTR.size:
            raise ValueError("netlink attribute: header is cut off")
        length, kind = _NLATTR.unpack_from(data, offset)
        if not _NLATTR.size <= length <= len(data) - offset:
            raise ValueError(f"netlink attribute {kind}: length {length} of {len(data) - offset} bytes")
        attributes.append((kind, data[offset + _NLATTR.size : offset + length]))
        offset += length + -length % 4
    return attributes


def pack_message(kind: int, flags: int, body: bytes, *, sequence: int = 1) -> bytes:
    """Return one message: header and body (a fixed structure, then attributes)."""
    length = _NLMSGHDR.size + len(body)
    assert length <= _MAX_MESSAGE
    return _NLMSGHDR.pack(length, kind, flags, sequence, 0) + body


def pack_link(index: int, *, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    """Return a struct ifinfomsg: the fixed part of RTM_*LINK messages."""
    return _IFINFOMSG.pack(family, 0, index, flags, change)


def request(message: bytes, what: str) -> None:
    """Send one message with NLM_F_ACK in the calling thread's network namespace and take its answer.

    Raises:
        OSError: what the kernel answered; what is in the text.
    """
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
    try:
        sock.sendall(message)
        answer = sock.recv(65536)
    finally:
        sock.close()
    check_answer(answer, what)


def check_answer(answer: bytes, what: str) -> None:
    """Check that a kernel's answer is an acknowledgement.

    Raises:
        OSError: the error it carries instead; EBADMSG, it is of another kind.
    """
    if len(answer) < _NLMSGHDR.size + 4 or _NLMSGHDR.unpack_from(answer)[1] != NLMSG_ERROR:
        raise fail(errno.EBADMSG, what)
    number: int = -struct.unpack_from("=i", answer, _NLMSGHDR.size)[0]
    if number:
        raise fail(number, what)


def set_loopback_up() -> None:
    """Bring up `lo` of the calling thread's network namespace: one packed message and its acknowledgement.

    Raises:
        OSError: EPERM, no CAP_NET_ADMIN there.
    """
    link = pack_link(LOOPBACK_INDEX, flags=IFF_UP, change=IFF_UP)
    request(pack_message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, link), "bring up lo")
