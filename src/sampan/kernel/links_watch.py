"""Being told that interfaces were removed: a socket that is silent about everything else.

Source: rtnetlink(7), include/uapi/linux/rtnetlink.h (RTMGRP_LINK), linux/filter.h.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, socket

from sampan.kernel.clib import buffer_of
from sampan.kernel.netlink import unpack_attributes
from sampan.kernel.syscall import address

_NETLINK_ROUTE, _RTMGRP_LINK, _RTM_DELLINK = 0, 1, 17
_SO_ATTACH_FILTER = 26
_FILTER = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, number
_SOCK_FPROG = struct.Struct("@HP")
_LOAD_HALF, _EQUAL, _RETURN = 0x28, 0x15, 0x06  # BPF_LD|H|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_KIND_AT = 4  # offset of nlmsg_type
_LENGTH = struct.Struct("=I")
_HEADERS = 32  # struct nlmsghdr and struct ifinfomsg
_IFLA_IFNAME = 3
_PACKET = 1 << 16


def open_watch() -> socket:
    """Return a socket that becomes readable when an interface of this network namespace is removed."""
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, _NETLINK_ROUTE)
    try:
        as_loaded = int.from_bytes(_RTM_DELLINK.to_bytes(2, "little"), "big")  # a load is big-endian
        program = buffer_of(
            _FILTER.pack(_LOAD_HALF, 0, 0, _KIND_AT)
            + _FILTER.pack(_EQUAL, 1, 0, as_loaded)
            + _FILTER.pack(_RETURN, 0, 0, 0)
            + _FILTER.pack(_RETURN, 0, 0, 0xFFFFFFFF)
        )
        sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, _SOCK_FPROG.pack(4, address(program)))
        sock.bind((0, _RTMGRP_LINK))
    except OSError:
        sock.close()
        raise
    return sock


def take_removed(sock: socket) -> set[str] | None:
    """Read everything that waits; return the names of what was removed, None when some were missed."""
    names: set[str] | None = set()
    while True:
        try:
            data = sock.recv(_PACKET)
        except BlockingIOError:
            return names
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:  # more came than the socket holds
                raise
            names = None
            continue
        if names is not None:
            names |= _names(data)


def _names(data: bytes) -> set[str]:
    names = set()
    offset = 0
    while offset + _HEADERS <= len(data):
        length = int(_LENGTH.unpack_from(data, offset)[0])
        if length < _HEADERS:
            break
        for kind, value in unpack_attributes(data[offset + _HEADERS : offset + length]):
            if kind == _IFLA_IFNAME:
                names.add(value.rstrip(b"\0").decode(errors="replace"))
        offset += length + -length % 4
    return names
