"""Expressions for chains that iptables keeps (table `filter` of ip and ip6), in the form it writes itself.

iptables refuses a whole table that holds what it cannot read, so plain nft expressions are not put there.
Source: include/uapi/linux/netfilter/{x_tables,xt_devgroup,xt_state,xt_comment}.h, nf_tables.h (nft_compat).
"""

from __future__ import annotations

import struct

from sampan.kernel.netlink import pack_attribute, pack_nested

_DEVGROUP = struct.Struct("=IIIII4x")  # flags, source group and mask, destination group and mask
_SRC, _DST = 1, 4  # XT_DEVGROUP_MATCH_SRC, _DST
_ESTABLISHED_OR_RELATED = 1 << 1 | 1 << 2  # XT_STATE_BIT
_COMMENT_BYTES = 256
_ALL = 0xFFFFFFFF


def expression(name: str, *attributes: bytes) -> bytes:
    """Return one expression of a rule."""
    return pack_nested(1, pack_attribute(1, name.encode() + b"\0"), pack_nested(2, *attributes))


def _match(name: str, info: bytes) -> bytes:
    padded = info + bytes(-len(info) % 8)  # XT_ALIGN
    revision = struct.pack(">I", 0)
    return expression(
        "match",
        pack_attribute(1, name.encode() + b"\0"),
        pack_attribute(2, revision),
        pack_attribute(3, padded),
    )


def from_group(group: int) -> bytes:
    """Match what comes in by an interface of a group."""
    return _match("devgroup", _DEVGROUP.pack(_SRC, group, _ALL, 0, 0))


def to_group(group: int) -> bytes:
    """Match what leaves by an interface of a group."""
    return _match("devgroup", _DEVGROUP.pack(_DST, 0, 0, group, _ALL))


def established() -> bytes:
    """Match replies, and what belongs to a known connection."""
    return _match("state", struct.pack("=I", _ESTABLISHED_OR_RELATED))


def comment(text: str) -> bytes:
    """Tag a rule; its user reads it in `iptables -L`."""
    return _match("comment", text.encode()[: _COMMENT_BYTES - 1].ljust(_COMMENT_BYTES, b"\0"))


def to_interface(name: str) -> bytes:
    """Match what leaves by one interface."""
    meta = expression(
        "meta", pack_attribute(2, struct.pack(">I", 7)), pack_attribute(1, struct.pack(">I", 1))
    )
    data = pack_nested(3, pack_attribute(1, name.encode() + b"\0"))
    return meta + expression(
        "cmp", pack_attribute(1, struct.pack(">I", 1)), pack_attribute(2, struct.pack(">I", 0)), data
    )


def counter() -> bytes:
    """Count packets, as every rule of iptables does."""
    return expression("counter", pack_attribute(1, bytes(8)), pack_attribute(2, bytes(8)))
