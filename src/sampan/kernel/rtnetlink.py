"""Links, addresses and routes as requests for `netsocket.run`. Lean.

Source: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr,veth}.h.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_INET, AF_INET6

from sampan.kernel import netsocket
from sampan.kernel.netlink import (
    IFF_UP,
    LOOPBACK_INDEX,
    RTM_NEWLINK,
    pack_attribute,
    pack_link,
    pack_nested,
    unpack_attributes,
)
from sampan.kernel.netsocket import Request
from sampan.kernel.syscall import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 17, 18, 19
_RTM_NEWADDR = 20
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_CREATE, _EXCL, _REPLACE = 0x400, 0x200, 0x100
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_PROTINFO, _IFLA_LINKINFO = 1, 3, 4, 10, 12, 18
_IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD = 26, 27, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRPORT_STATE, _BRPORT_MODE, _BRPORT_FLUSH, _BRPORT_ISOLATED = 1, 4, 24, 33
_AF_BRIDGE = 7
_STATE_DISABLED = 0  # linux/if_bridge.h, BR_STATE_DISABLED
_INET6_ADDR_GEN_MODE, _GEN_NONE = 8, b"\1"
_BR_FORWARD_DELAY = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_TABLE_MAIN, _PROTO_BOOT, _SCOPE_UNIVERSE, _SCOPE_LINK, _UNICAST = 254, 3, 0, 253, 1
_TABLE_LOCAL, _LOCAL, _RTA_PRIORITY = 255, 2, 6
_U32 = struct.Struct("=I")
_RTM_DELNEIGH, _NDA_DST = 29, 1
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct(
    "=BBBBBBBBI"
)  # family, dst length, src length, tos, table, protocol, scope, type, flags


def name_bytes(name: str) -> bytes:
    """Return an interface's name for the kernel.

    Raises:
        OSError: EINVAL, it is longer than 15 bytes.
    """
    raw = name.encode()
    if not 0 < len(raw) < 16:
        raise fail(errno.EINVAL, f"interface name {name!r}")
    return raw + b"\0"


def new_bridge(name: str, *, mac: bytes, mtu: int) -> Request:
    """Make a bridge, down (`set_up`); one of that name is left as it is."""
    body = [
        pack_link(0),
        pack_attribute(_IFLA_IFNAME, name_bytes(name)),
        pack_attribute(_IFLA_ADDRESS, mac),
        pack_attribute(_IFLA_MTU, _U32.pack(mtu)),
        pack_nested(
            _IFLA_LINKINFO,
            pack_attribute(_INFO_KIND, b"bridge"),
            pack_nested(_INFO_DATA, pack_attribute(_BR_FORWARD_DELAY, _U32.pack(0))),
        ),
    ]
    return Request(
        RTM_NEWLINK, b"".join(body), flags=_CREATE | _EXCL, what=f"make bridge {name}", ignore=(errno.EEXIST,)
    )


def _without_link_local() -> bytes:
    return pack_nested(_IFLA_AF_SPEC, pack_nested(AF_INET6, pack_attribute(_INET6_ADDR_GEN_MODE, _GEN_NONE)))


def new_veth(name: str, *, mtu: int, peer: str, peer_mac: bytes, peer_namespace: int) -> Request:
    """Make a pair, both down: name here, its peer in another namespace."""
    peer_body = [
        pack_link(0),
        pack_attribute(_IFLA_IFNAME, name_bytes(peer)),
        pack_attribute(_IFLA_ADDRESS, peer_mac),
        pack_attribute(_IFLA_MTU, _U32.pack(mtu)),
        pack_attribute(_IFLA_NET_NS_FD, _U32.pack(peer_namespace)),
    ]
    body = [
        pack_link(0),
        pack_attribute(_IFLA_IFNAME, name_bytes(name)),
        pack_attribute(_IFLA_MTU, _U32.pack(mtu)),
        pack_nested(
            _IFLA_LINKINFO,
            pack_attribute(_INFO_KIND, b"veth"),
            pack_nested(_INFO_DATA, pack_attribute(_VETH_PEER, b"".join(peer_body))),
        ),
    ]
    return Request(RTM_NEWLINK, b"".join(body), flags=_CREATE | _EXCL, what=f"make veth {name}")


def set_port(name: str, *, hairpin: int, isolated: int) -> Request:
    """Set up a bridge's port. hairpin: packets may go back out of it; isolated: no other such port is met."""
    data = pack_nested(
        _INFO_SLAVE_DATA,
        pack_attribute(_BRPORT_MODE, bytes([hairpin])),
        pack_attribute(_BRPORT_ISOLATED, bytes([isolated])),
    )
    info = pack_nested(_IFLA_LINKINFO, pack_attribute(_INFO_SLAVE_KIND, b"bridge"), data)
    body = pack_link(0) + pack_attribute(_IFLA_IFNAME, name_bytes(name))
    return Request(RTM_NEWLINK, body + info, what=f"set bridge port {name}")


def silence_port(index: int) -> Request:
    """Let nothing pass a bridge's port any more, and forget who is behind it; one that is gone is fine.

    The kernel waits for nobody here, as it does when a link is set down or removed. By the bridge's own
    message: behind any other change of a port its bridge has another look at it, and opens it again. Does
    nothing where the kernel's spanning tree protocol has the port's state.
    """
    settings = pack_nested(
        _IFLA_PROTINFO,
        pack_attribute(_BRPORT_STATE, bytes([_STATE_DISABLED])),
        pack_attribute(_BRPORT_FLUSH, b""),
    )
    body = pack_link(index, family=_AF_BRIDGE) + settings
    # The link; from its bridge; set down by hand; a bridge of the host's with the spanning tree protocol.
    ignore = (errno.ENODEV, errno.EOPNOTSUPP, errno.ENETDOWN, errno.EBUSY)
    return Request(_RTM_SETLINK, body, what=f"silence bridge port {index}", ignore=ignore)


def set_host_end_up(name: str, *, ipv6: int) -> Request:
    """Bring an interface up that will be a bridge's port: it gets no IPv6 link-local address.

    ipv6: 0, it can have none (the kernel has no IPv6, or its MTU is below 1280), and the kernel would refuse
    to hear of it.
    """
    body = pack_link(0, flags=IFF_UP, change=IFF_UP) + pack_attribute(_IFLA_IFNAME, name_bytes(name))
    return Request(RTM_NEWLINK, body + (_without_link_local() if ipv6 else b""), what=f"bring up link {name}")


def set_master(name: str, bridge: int) -> Request:
    """Make an interface a port of the bridge of that index."""
    body = pack_link(0) + pack_attribute(_IFLA_IFNAME, name_bytes(name))
    return Request(
        RTM_NEWLINK, body + pack_attribute(_IFLA_MASTER, _U32.pack(bridge)), what=f"put {name} on its bridge"
    )


def set_no_link_local(index: int) -> Request:
    """Have a link get no IPv6 link-local address when it comes up; one without IPv6 is fine."""
    body = pack_link(index) + _without_link_local()
    return Request(RTM_NEWLINK, body, what=f"set link {index}", ignore=(errno.EAFNOSUPPORT,))


def set_up(index: int, *, group: int = 0) -> Request:
    """Bring a link up. group: the number it is to be found by beside others (`ip link show group`)."""
    body = pack_link(index, flags=IFF_UP, change=IFF_UP)
    body += pack_attribute(_IFLA_GROUP, _U32.pack(group)) if group else b""
    return Request(RTM_NEWLINK, body, what=f"bring up link {index}")


def set_group(index: int, group: int) -> Request:
    """Put a link in a group, 0 for none."""
    return Request(
        RTM_NEWLINK,
        pack_link(index) + pack_attribute(_IFLA_GROUP, _U32.pack(group)),
        what=f"set group of link {index}",
    )


def set_loopback_up() -> Request:
    """Bring `lo` up."""
    return set_up(LOOPBACK_INDEX)


def delete_link(name: str) -> Request:
    """Remove a link; that it is gone already is no error."""
    body = pack_link(0) + pack_attribute(_IFLA_IFNAME, name_bytes(name))
    return Request(_RTM_DELLINK, body, what=f"remove link {name}", ignore=(errno.ENODEV,))


def new_address(index: int, address: bytes, prefix: int, *, prefix_route: int = 1) -> Request:
    """Give a link an address (4 or 16 bytes). prefix_route: 0, no route for its subnet comes with it."""
    flags = (0 if prefix_route else _IFA_F_NOPREFIXROUTE) | (_IFA_F_NODAD if len(address) == 16 else 0)
    body = _IFADDRMSG.pack(_family(address), prefix, 0, 0, index)
    body += pack_attribute(_IFA_LOCAL, address) + pack_attribute(_IFA_ADDRESS, address)
    body += pack_attribute(_IFA_FLAGS, _U32.pack(flags))
    what = f"add an address to link {index}"
    return Request(_RTM_NEWADDR, body, flags=_CREATE | _REPLACE, what=what, ignore=(errno.EEXIST,))


def delete_neighbour(index: int, address: bytes) -> Request:
    """Forget at which MAC address a neighbour is; one that is not known is fine."""
    body = _NDMSG.pack(_family(address), index, 0, 0, 0) + pack_attribute(_NDA_DST, address)
    return Request(_RTM_DELNEIGH, body, what="forget a neighbour", ignore=(errno.ENOENT, errno.ENODEV))


def new_route(
    index: int, destination: bytes, prefix: int, *, gateway: bytes = b"", source: bytes = b""
) -> Request:
    """Add a route by a link: straight, or by a gateway; source: the address its packets begin with."""
    scope = _SCOPE_UNIVERSE if gateway or len(destination) == 16 else _SCOPE_LINK
    body = _RTMSG.pack(_family(destination), prefix, 0, 0, _TABLE_MAIN, _PROTO_BOOT, scope, _UNICAST, 0)
    body += pack_attribute(_RTA_DST, destination) if prefix else b""
    body += pack_attribute(_RTA_OIF, _U32.pack(index))
    body += pack_attribute(_RTA_GATEWAY, gateway) if gateway else b""
    body += pack_attribute(_RTA_PREFSRC, source) if source else b""
    return Request(_RTM_NEWROUTE, body, flags=_CREATE | _REPLACE, what=f"add a route to link {index}")


def new_loopback_route(index: int) -> Request:
    """Have packets to ::1 that come by a link delivered here.

    For ::1 the kernel takes a route by the very link that a packet came by. One for each link, so each with
    a metric of its own; that of `lo` goes before them all.
    """
    body = _RTMSG.pack(AF_INET6, 128, 0, 0, _TABLE_LOCAL, _PROTO_BOOT, _SCOPE_UNIVERSE, _LOCAL, 0)
    body += pack_attribute(_RTA_DST, bytes(15) + b"\1")
    body += pack_attribute(_RTA_OIF, _U32.pack(index))
    body += pack_attribute(_RTA_PRIORITY, _U32.pack(1024 + index))
    return Request(_RTM_NEWROUTE, body, flags=_CREATE | _REPLACE, what=f"add a route to ::1 by link {index}")


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else AF_INET6


class Link:
    """One interface. kind: `bridge`, `veth` and so on, "" for hardware; mac: 6 bytes; group: a number."""

    __slots__ = ("group", "index", "kind", "mac")

    def __init__(self, index: int, kind: str, mac: bytes, group: int) -> None:
        self.index, self.kind, self.mac, self.group = index, kind, mac, group


def find_link(sock: socket, name: str) -> Link | None:
    """Return what an interface is, None when there is none of that name."""
    body = pack_link(0) + pack_attribute(_IFLA_IFNAME, name_bytes(name))
    for _kind, answer in netsocket.dump(sock, _RTM_GETLINK, body, what=f"find link {name}"):
        values = dict(unpack_attributes(answer[16:]))
        if values.get(_IFLA_IFNAME, b"").rstrip(b"\0") == name.encode():
            info = dict(unpack_attributes(values.get(_IFLA_LINKINFO, b"")))
            return Link(
                index=struct.unpack_from("=i", answer, 4)[0],
                kind=info.get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace"),
                mac=bytes(values.get(_IFLA_ADDRESS, b"")),
                group=int(_U32.unpack(values.get(_IFLA_GROUP, bytes(4)))[0]),
            )
    return None


def links(sock: socket) -> dict[str, int]:
    """Return the index of every link by its name."""
    found = {}
    for _kind, body in netsocket.dump(sock, _RTM_GETLINK, pack_link(0), what="list links"):
        index = struct.unpack_from("=i", body, 4)[0]
        for kind, value in unpack_attributes(body[16:]):
            if kind == _IFLA_IFNAME:
                found[value.rstrip(b"\0").decode(errors="replace")] = index
    return found


def routes(sock: socket, family: int = AF_INET, *, connected: int = 0) -> list[tuple[bytes, int, int]]:
    """Return (destination, prefix length, index of the link) of every route of a family but the default.

    connected: 1, only of those that lead by no gateway.
    """
    found = []
    body = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    for _kind, answer in netsocket.dump(sock, _RTM_GETROUTE, body, what="list routes"):
        prefix = answer[1]
        values = dict(unpack_attributes(answer[_RTMSG.size :]))
        if connected and _RTA_GATEWAY in values:
            continue
        if prefix and answer[4] == _TABLE_MAIN and _RTA_DST in values and _RTA_OIF in values:
            found.append((values[_RTA_DST], prefix, int(_U32.unpack(values[_RTA_OIF])[0])))
    return found
