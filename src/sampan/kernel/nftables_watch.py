"""Being told when somebody else changes nftables: a socket that is silent about one's own changes.

Source: netlink(7), include/uapi/linux/netfilter/nfnetlink.h (NFNLGRP_NFTABLES), linux/filter.h.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, socket

from sampan.kernel.clib import buffer_of
from sampan.kernel.netlink import NLA_F_NESTED, unpack_attributes
from sampan.kernel.syscall import address

_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER = 26
_FILTER = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, number
_SOCK_FPROG = struct.Struct("@HP")
_LOAD_WORD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_PORT_AT = 12  # offset of nlmsg_pid: the socket that made the change
_NLMSGHDR = struct.Struct("=IHHII")
_REMOVALS = (2, 5, 8, 11, 14)  # NFT_MSG_DELTABLE, _DELCHAIN, _DELRULE, _DELSET, _DELSETELEM
_PACKET = 1 << 16


def port_of(sock: socket) -> int:
    """Return the number by which the kernel names a netlink socket."""
    name = sock.getsockname()[0]
    if not name:
        sock.bind((0, 0))
        name = sock.getsockname()[0]
    return int(name)


def open_watch(own: int) -> socket:
    """Return a socket that gets every change but those of one's own socket; own: its port."""
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, _NETLINK_NETFILTER)
    try:
        as_loaded = int.from_bytes(own.to_bytes(4, "little"), "big")  # a load is big-endian
        program = buffer_of(
            _FILTER.pack(_LOAD_WORD, 0, 0, _PORT_AT)
            + _FILTER.pack(_EQUAL, 0, 1, as_loaded)
            + _FILTER.pack(_RETURN, 0, 0, 0)
            + _FILTER.pack(_RETURN, 0, 0, 0xFFFFFFFF)
        )
        sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, _SOCK_FPROG.pack(4, address(program)))
        sock.bind((0, 0))  # one without a port gets nothing
        sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    except OSError:
        sock.close()
        raise
    return sock


def take_changes(sock: socket, table: str) -> bool:
    """Read all changes that wait; return whether anything of the table may be gone."""
    lost = False
    while True:
        try:
            data = sock.recv(_PACKET)
        except BlockingIOError:
            return lost
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:  # more came than the socket holds
                raise
            lost = True
            continue
        lost = lost or _takes_away(data, table.encode())


def _takes_away(data: bytes, table: bytes) -> bool:
    offset = 0
    while offset + _NLMSGHDR.size <= len(data):
        length, kind, *_ = _NLMSGHDR.unpack_from(data, offset)
        if length < _NLMSGHDR.size:
            return True
        if kind & 0xFF in _REMOVALS:
            body = data[offset + _NLMSGHDR.size + 4 : offset + length]
            named = {number & ~NLA_F_NESTED: value for number, value in unpack_attributes(body)}
            if named.get(1, b"").rstrip(b"\0") == table:
                return True
        offset += length + -length % 4
    return False
