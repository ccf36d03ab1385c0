"""Forgetting connections that the kernel tracks, so that packets are looked at anew. Lean.

UDP has no end: a flow that goes on keeps the NAT it began with, whatever the rules say since.
Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h; CTA_FILTER is there since Linux 5.8.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_INET, AF_INET6

from sampan.kernel import netsocket
from sampan.kernel.netlink import NLA_F_NESTED, pack_attribute, pack_nested, unpack_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

NETLINK_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET and _DELETE
_TUPLE_ORIG, _TUPLE_REPLY, _FILTER = 1, 2, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE = {4: 1, 16: 3}  # CTA_IP_V4_SRC, CTA_IP_V6_SRC, by the length of an address
_PROTO_NUM, _DST_PORT = 1, 3
_F_IP_SRC, _F_PROTO_NUM, _F_DST_PORT = 1 << 0, 1 << 3, 1 << 5
_FILTER_ORIG, _FILTER_REPLY = 1, 2
_NFGENMSG = struct.Struct(">BBH")
_U32 = struct.Struct("=I")


def forget_answered_by(sock: socket, address: bytes, protocol: int) -> int:
    """Forget the connections of a protocol that one address (4 or 16 bytes) answers; return how many.

    sock: a netlink socket of netfilter, in the network namespace that is meant.
    """
    found = pack_nested(
        _TUPLE_REPLY,
        pack_nested(_TUPLE_IP, pack_attribute(_SOURCE[len(address)], address)),
        pack_nested(_TUPLE_PROTO, pack_attribute(_PROTO_NUM, bytes([protocol]))),
    )
    family = AF_INET if len(address) == 4 else AF_INET6
    return _forget(sock, family, found, orig=0, reply=_F_IP_SRC | _F_PROTO_NUM)


def forget_sent_to(sock: socket, port: int, protocol: int, *, ipv6: int) -> int:
    """Forget the connections of a protocol that began with a packet to a port; return how many."""
    found = pack_nested(
        _TUPLE_ORIG,
        pack_nested(
            _TUPLE_PROTO,
            pack_attribute(_PROTO_NUM, bytes([protocol])),
            pack_attribute(_DST_PORT, port.to_bytes(2, "big")),
        ),
    )
    return _forget(sock, AF_INET6 if ipv6 else AF_INET, found, orig=_F_PROTO_NUM | _F_DST_PORT, reply=0)


def _forget(sock: socket, family: int, tuples: bytes, *, orig: int, reply: int) -> int:
    head = _NFGENMSG.pack(family, 0, 0)
    flags = pack_nested(
        _FILTER,
        pack_attribute(_FILTER_ORIG, _U32.pack(orig)),
        pack_attribute(_FILTER_REPLY, _U32.pack(reply)),
    )
    requests = []
    for _kind, body in netsocket.dump(sock, _GET, head + tuples + flags, what="list connections"):
        for kind, value in unpack_attributes(body[_NFGENMSG.size :]):
            if kind & ~NLA_F_NESTED == _TUPLE_ORIG:
                wanted = head + pack_attribute(_TUPLE_ORIG | NLA_F_NESTED, value)
                requests.append(
                    netsocket.Request(_DELETE, wanted, what="forget a connection", ignore=(errno.ENOENT,))
                )
    for start in range(0, len(requests), 100):
        netsocket.run(sock, requests[start : start + 100])
    return len(requests)
