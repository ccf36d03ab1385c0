"""Reading nftables: the chains and rules of every table of a network namespace, whoever made them. Lean.

Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from sampan.kernel import netsocket
from sampan.kernel.netlink import NLA_F_NESTED, pack_attribute, unpack_attributes
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_SUBSYS = 10 << 8
_GETCHAIN, _GETRULE, _GETSETELEM = 4, 7, 13
_NFGENMSG = struct.Struct(">BBH")
_HEADER = _NFGENMSG.size
_JUMPS = (-3, -4)  # NFT_JUMP, NFT_GOTO
_OIFNAME = 7


@record
class Chain:
    """A chain. hook: its number, -1 without; policy: 0 drop, 1 accept; kind: filter, nat or route."""

    family: int
    table: str
    name: str
    hook: int = -1
    priority: int = 0
    policy: int = 1
    kind: str = ""


@record
class Expression:
    """One expression of a rule: its name, and its attributes by number."""

    name: str
    values: dict[int, bytes]


@record
class Rule:
    """A rule: its handle and its row of expressions."""

    handle: int
    expressions: tuple[Expression, ...]

    @property
    def comment(self) -> str:
        """The comment that iptables or we put on it."""
        for one in self.expressions:
            if one.name == "match" and _text(one.values.get(1, b"")) == "comment":
                return _text(one.values.get(3, b""))
        return ""

    @property
    def jump(self) -> str:
        """The chain it leads to, "" without."""
        for one in self.expressions:
            if one.name == "immediate" and 2 in one.values:
                verdict = _attributes(_attributes(one.values[2]).get(2, b""))
                code = struct.unpack(">i", verdict[1])[0] if 1 in verdict else 0
                if code in _JUMPS:
                    return _text(verdict.get(2, b""))
        return ""

    @property
    def is_return(self) -> bool:
        """Whether it is nothing but a RETURN."""
        kinds = [one for one in self.expressions if one.name != "counter"]
        if len(kinds) != 1 or kinds[0].name != "immediate" or 2 not in kinds[0].values:
            return False
        verdict = _attributes(_attributes(kinds[0].values[2]).get(2, b""))
        return 1 in verdict and struct.unpack(">i", verdict[1])[0] == -5

    @property
    def leaves_by(self) -> str:
        """The one interface that its packets leave by, "" when it names none."""
        loaded = False
        for one in self.expressions:
            if one.name == "meta":
                loaded = struct.unpack(">I", one.values.get(2, bytes(4)))[0] == _OIFNAME
            elif one.name == "cmp" and loaded:
                is_equal = struct.unpack(">I", one.values.get(2, bytes(4)))[0] == 0
                return _text(_attributes(one.values.get(3, b"")).get(1, b"")) if is_equal else ""
        return ""


def chains(sock: socket) -> list[Chain]:
    """Return every chain of every table."""
    body = _NFGENMSG.pack(0, 0, 0)
    found = []
    for _kind, answer in netsocket.dump(sock, _SUBSYS | _GETCHAIN, body, what="list nftables chains"):
        values = _attributes(answer[_HEADER:])
        hook = _attributes(values.get(4, b""))
        found.append(
            Chain(
                family=answer[0],
                table=_text(values.get(1, b"")),
                name=_text(values.get(3, b"")),
                hook=struct.unpack(">I", hook[1])[0] if 1 in hook else -1,
                priority=struct.unpack(">i", hook[2])[0] if 2 in hook else 0,
                policy=struct.unpack(">I", values[5])[0] if 5 in values else 1,
                kind=_text(values.get(7, b"")),
            )
        )
    return found


def rules(sock: socket, *, family: int, table: str, chain: str = "") -> list[Rule]:
    """Return a chain's rules in order, or those of all chains of a table.

    Raises:
        OSError: ENOENT, there is none.
    """
    body = _NFGENMSG.pack(family, 0, 0) + pack_attribute(1, table.encode() + b"\0")
    if chain:
        body += pack_attribute(2, chain.encode() + b"\0")
    found = []
    for _kind, answer in netsocket.dump(sock, _SUBSYS | _GETRULE, body, what=f"list rules of {table}"):
        values = _attributes(answer[_HEADER:])
        expressions = tuple(
            Expression(name=_text(one.get(1, b"")), values=_attributes(one.get(2, b"")))
            for one in (_attributes(data) for _, data in unpack_attributes(values.get(4, b"")))
        )
        found.append(Rule(handle=int.from_bytes(values.get(3, b""), "big"), expressions=expressions))
    return found


def elements(sock: socket, *, family: int, table: str, name: str) -> list[tuple[bytes, bytes]]:
    """Return (key, data) of what a set or map holds; data is b"" in a set.

    Raises:
        OSError: ENOENT, there is none.
    """
    body = _NFGENMSG.pack(family, 0, 0) + pack_attribute(1, table.encode() + b"\0")
    body += pack_attribute(2, name.encode() + b"\0")
    found = []
    for _kind, answer in netsocket.dump(sock, _SUBSYS | _GETSETELEM, body, what=f"list set {name}"):
        listed = _attributes(answer[_HEADER:]).get(3, b"")
        for _, one in unpack_attributes(listed):
            values = _attributes(one)
            key, data = (_attributes(values.get(kind, b"")).get(1, b"") for kind in (1, 2))
            found.append((key, data))
    return found


def _attributes(data: bytes) -> dict[int, bytes]:
    return {kind & ~NLA_F_NESTED: value for kind, value in unpack_attributes(data)}


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
