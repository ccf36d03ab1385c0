"""What a network namespace has: links with their counters, addresses, routes. Lean.

Source: rtnetlink(7), include/uapi/linux/{if_link,rtnetlink}.h.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6, inet_ntop

from sampan.kernel import netsocket
from sampan.kernel.netlink import IFF_UP, pack_link, unpack_attributes
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_GETLINK, _GETADDR, _GETROUTE = 18, 22, 26
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _STATS64 = 1, 3, 4, 5, 10, 23
_LOCAL, _IFA_ADDRESS = 2, 1
_DST, _OIF, _GATEWAY, _MAIN = 1, 4, 5, 254
_STATS = struct.Struct("=QQQQ")  # struct rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes
_RTMSG_BYTES, _IFADDRMSG_BYTES, _IFINFOMSG_BYTES = 12, 8, 16
_U32 = struct.Struct("=I")


@record
class Link:
    """A link. peer: index of its other end, perhaps in another namespace; master: of its bridge; or 0."""

    name: str
    index: int
    up: bool
    mtu: int
    mac: str
    peer: int
    master: int
    received_bytes: int
    sent_bytes: int


def read_links(sock: socket) -> list[Link]:
    """Return every link."""
    found = []
    for _kind, body in netsocket.dump(sock, _GETLINK, pack_link(0), what="list links"):
        index, flags = struct.unpack_from("=iI", body, 4)
        values = dict(unpack_attributes(body[_IFINFOMSG_BYTES:]))
        stats = _STATS.unpack_from(values[_STATS64]) if len(values.get(_STATS64, b"")) >= 32 else (0,) * 4
        found.append(
            Link(
                name=values.get(_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
                index=index,
                up=bool(flags & IFF_UP),
                mtu=_number(values.get(_MTU)),
                mac=values.get(_ADDRESS, b"").hex(":"),
                peer=_number(values.get(_LINK)),
                master=_number(values.get(_MASTER)),
                received_bytes=stats[2],
                sent_bytes=stats[3],
            )
        )
    return found


def read_addresses(sock: socket) -> list[tuple[int, str]]:
    """Return (index of the link, `address/prefix`) of every address."""
    found = []
    for _kind, body in netsocket.dump(sock, _GETADDR, bytes(_IFADDRMSG_BYTES), what="list addresses"):
        family, prefix, _, _, index = struct.unpack_from("=BBBBI", body)
        values = dict(unpack_attributes(body[_IFADDRMSG_BYTES:]))
        raw = values.get(_LOCAL) or values.get(_IFA_ADDRESS, b"")
        if family in (AF_INET, AF_INET6) and raw:
            found.append((index, f"{inet_ntop(family, raw)}/{prefix}"))
    return found


def read_routes(sock: socket) -> list[tuple[int, str]]:
    """Return (index of the link, text as `ip route` has it) of every route of the main table."""
    found = []
    for family in (AF_INET, AF_INET6):
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
        for _kind, answer in netsocket.dump(sock, _GETROUTE, body, what="list routes"):
            values = dict(unpack_attributes(answer[_RTMSG_BYTES:]))
            if answer[0] != family or answer[4] != _MAIN or _OIF not in values:
                continue
            target = f"{inet_ntop(family, values[_DST])}/{answer[1]}" if _DST in values else "default"
            gateway = f" via {inet_ntop(family, values[_GATEWAY])}" if _GATEWAY in values else ""
            found.append((_number(values[_OIF]), f"{target}{gateway}"))
    return found


def _number(raw: bytes | None) -> int:
    return int(_U32.unpack(raw)[0]) if raw and len(raw) == 4 else 0
