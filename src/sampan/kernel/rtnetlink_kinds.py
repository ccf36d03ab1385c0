"""Kinds of links beside bridges and veth pairs: macvlan, ipvlan, VLAN, dummy, vxlan. Lean.

Source: include/uapi/linux/{if_link,neighbour}.h, net/core/rtnetlink.c.
"""

from __future__ import annotations

import errno
import struct

from sampan.kernel.netlink import RTM_NEWLINK, pack_attribute, pack_link, pack_nested
from sampan.kernel.netsocket import Request
from sampan.kernel.rtnetlink import name_bytes

_RTM_NEWNEIGH = 28
_AF_BRIDGE = 7
_CREATE, _EXCL, _APPEND = 0x400, 0x200, 0x800
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _GROUP, _NET_NS_FD = 1, 3, 4, 5, 10, 18, 27, 28
_INFO_KIND, _INFO_DATA = 1, 2
_MODE, _VLAN_ID = 1, 1  # IFLA_MACVLAN_MODE and IFLA_IPVLAN_MODE; IFLA_VLAN_ID
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 4, 7, 15, 17
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT, _NUD_NOARP, _NTF_SELF = 0x80, 0x40, 0x02
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}  # MACVLAN_MODE_*
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}  # IPVLAN_MODE_*


def new_macvlan(
    name: str, *, parent: int, mode: str, namespace: int, mtu: int = 0, mac: bytes = b""
) -> Request:
    """Make a macvlan link in another namespace, down. parent: index here; mode: of MACVLAN_MODES."""
    data = pack_attribute(_MODE, _U32.pack(MACVLAN_MODES[mode]))
    return _sublink("macvlan", name, data, parent=parent, namespace=namespace, mtu=mtu, mac=mac)


def new_ipvlan(name: str, *, parent: int, mode: str, namespace: int, mtu: int = 0) -> Request:
    """Make an ipvlan link in another namespace, down; it has its parent's MAC. mode: of IPVLAN_MODES."""
    data = pack_attribute(_MODE, _U16.pack(IPVLAN_MODES[mode]))
    return _sublink("ipvlan", name, data, parent=parent, namespace=namespace, mtu=mtu)


def _sublink(
    kind: str, name: str, data: bytes, *, parent: int, namespace: int, mtu: int, mac: bytes = b""
) -> Request:
    body = pack_link(0) + pack_attribute(_IFNAME, name_bytes(name))
    body += pack_attribute(_LINK, _U32.pack(parent)) + pack_attribute(_NET_NS_FD, _U32.pack(namespace))
    body += pack_attribute(_MTU, _U32.pack(mtu)) if mtu else b""
    body += pack_attribute(_ADDRESS, mac) if mac else b""
    return _new(f"make {kind} link {name}", body + _info(kind, data))


def new_vlan(name: str, *, parent: int, number: int, group: int) -> Request:
    """Make a VLAN's sub-interface, down. group: see `rtnetlink.set_up`."""
    body = pack_link(0) + pack_attribute(_IFNAME, name_bytes(name)) + pack_attribute(_LINK, _U32.pack(parent))
    body += pack_attribute(_GROUP, _U32.pack(group))
    return _new(f"make VLAN link {name}", body + _info("vlan", pack_attribute(_VLAN_ID, _U16.pack(number))))


def new_dummy(name: str, *, group: int) -> Request:
    """Make a link that leads nowhere, down."""
    body = pack_link(0) + pack_attribute(_IFNAME, name_bytes(name))
    body += pack_attribute(_GROUP, _U32.pack(group))
    return _new(f"make dummy link {name}", body + _info("dummy", b""))


def new_vxlan(
    name: str, *, bridge: int, number: int, port: int, mtu: int, local: bytes = b"", mac: bytes = b""
) -> Request:
    """Make a vxlan link as a bridge's port, down; one of that name is left as it is.

    number: of the overlay (VNI); port: UDP; local: the address packets come from, b"" for any.
    """
    data = pack_attribute(_VXLAN_ID, _U32.pack(number)) + pack_attribute(_VXLAN_LEARNING, b"\1")
    data += pack_attribute(_VXLAN_PORT, port.to_bytes(2, "big"))
    if local:
        data += pack_attribute(_VXLAN_LOCAL if len(local) == 4 else _VXLAN_LOCAL6, local)
    body = pack_link(0) + pack_attribute(_IFNAME, name_bytes(name))
    body += pack_attribute(_MTU, _U32.pack(mtu)) + pack_attribute(_MASTER, _U32.pack(bridge))
    body += pack_attribute(_ADDRESS, mac) if mac else b""
    return _new(f"make vxlan link {name}", body + _info("vxlan", data), ignore=(errno.EEXIST,))


def add_vxlan_peer(index: int, peer: bytes) -> Request:
    """Let a vxlan link send to a peer what is for everybody, or for an address it has not learned yet."""
    body = _NDMSG.pack(_AF_BRIDGE, index, _NUD_PERMANENT | _NUD_NOARP, _NTF_SELF, 0)
    body += pack_attribute(_NDA_LLADDR, bytes(6)) + pack_attribute(_NDA_DST, peer)
    what = "add a peer to a vxlan link"
    return Request(_RTM_NEWNEIGH, body, flags=_CREATE | _APPEND, what=what, ignore=(errno.EEXIST,))


def _new(what: str, body: bytes, *, ignore: tuple[int, ...] = ()) -> Request:
    return Request(RTM_NEWLINK, body, flags=_CREATE | _EXCL, what=what, ignore=ignore)


def _info(kind: str, data: bytes) -> bytes:
    parts = [pack_attribute(_INFO_KIND, kind.encode())]
    if data:
        parts.append(pack_nested(_INFO_DATA, data))
    return pack_nested(_LINKINFO, *parts)
