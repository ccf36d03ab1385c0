"""nftables by netlink: tables, chains, rules, sets and maps, as messages of one transaction. Lean.

A rule is a row of expressions that work on registers; one that does not match ends the row. Numbers are
big-endian in attributes; what registers hold is as the packet or the kernel has it.
Source: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c.
"""

from __future__ import annotations

import struct
from _socket import SOL_SOCKET, socket

from sampan.kernel import netsocket
from sampan.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    pack_attribute,
    pack_message,
    pack_nested,
)
from sampan.kernel.syscall import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Element = tuple[bytes, bytes]  # key, and the data of a map (b"" in a set)

NETLINK_NETFILTER = 12
INET = 1  # NFPROTO_INET: IPv4 and IPv6 in one table
IPV4, IPV6 = 2, 10
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
DROP, ACCEPT = 0, 1
RETURN, _JUMP = -5, -3
STATE, STATUS = 0, 2  # keys of `ct`
ESTABLISHED, RELATED = 2, 4  # NF_CT_STATE_BIT
DST_NAT = 0x20  # IPS_DST_NAT
MAP = 0x8
R0, R1, R2, R3, R4, R8 = 8, 9, 10, 11, 12, 16  # registers of 4 bytes: NFT_REG32_00 and on
ADDRESS, ADDRESS6, PROTOCOL, SERVICE, IFNAME = 7, 8, 12, 13, 41  # types as nft prints them

_SUBSYS = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = (
    0,
    1,
    2,
    3,
    6,
    9,
    12,
    14,
)
_GETCHAIN, _DELCHAIN, _DELRULE = 4, 5, 8
_BEGIN, _END = 16, 17
_CREATE, _APPEND = 0x400, 0x800
_NFGENMSG = struct.Struct(">BBH")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_NATIVE = struct.Struct("=I")
# So that `nft list` prints names: NFTNL_UDATA_SET_KEYBYTEORDER, its length, host order (libnftnl, udata.h).
_KEY_AS_IN_HOST = bytes([0, 4]) + _NATIVE.pack(1)
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER = 32 << 20  # a transaction is one packet: 10,000 ports are 1 MB
_ELEMENTS = 400  # in one message: an attribute holds 64 KiB
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16


def _number(kind: int, value: int) -> bytes:
    return pack_attribute(kind, _U32.pack(value & 0xFFFFFFFF))


def _text(kind: int, text: str) -> bytes:
    return pack_attribute(kind, text.encode() + b"\0")


def _value(kind: int, data: bytes) -> bytes:
    return pack_nested(kind, pack_attribute(1, data))


def _expression(name: str, *attributes: bytes) -> bytes:
    return pack_nested(1, _text(1, name), pack_nested(2, *attributes))


# ---- expressions


def meta(key: int, register: int) -> bytes:
    """Load something about the packet."""
    return _expression("meta", _number(2, key), _number(1, register))


def incoming(register: int = R0) -> bytes:
    """Load the name of the interface it came by (16 bytes); no match when it came by none."""
    return meta(_IIFNAME, register)


def outgoing(register: int = R0) -> bytes:
    """Load the name of the interface it leaves by."""
    return meta(_OIFNAME, register)


def family(number: int) -> bytes:
    """Match IPV4 or IPV6."""
    return meta(_NFPROTO, R8) + compare(bytes([number]), register=R8)


def protocol(register: int) -> bytes:
    """Load the transport protocol."""
    return meta(_L4PROTO, register)


def payload(base: int, offset: int, length: int, register: int) -> bytes:
    """Load bytes of the packet; base: 1 network header, 2 transport header."""
    return _expression(
        "payload", _number(1, register), _number(2, base), _number(3, offset), _number(4, length)
    )


def source(register: int = R0) -> bytes:
    """Load the IPv4 source address."""
    return payload(1, 12, 4, register)


def destination(register: int = R0) -> bytes:
    """Load the IPv4 destination address."""
    return payload(1, 16, 4, register)


def port(register: int) -> bytes:
    """Load the destination port."""
    return payload(2, 2, 2, register)


def constant(data: bytes, register: int) -> bytes:
    """Load fixed bytes."""
    return _expression("immediate", _number(1, register), _value(2, data))


def write_port(offset: int, register: int, *, checksum_at: int) -> bytes:
    """Put a port of a register into the transport header; its checksum is kept right."""
    place = (_number(2, 2), _number(3, offset), _number(4, 2))
    return _expression("payload", _number(5, register), *place, _number(6, 1), _number(7, checksum_at))


def compare(data: bytes, *, register: int = R0, operator: int = 0) -> bytes:
    """Match a register; operator: 0 equal, 1 not."""
    return _expression("cmp", _number(1, register), _number(2, operator), _value(3, data))


def mask(data: bytes, *, register: int = R0) -> bytes:
    """Keep only some bits of a register."""
    return _expression(
        "bitwise",
        _number(1, register),
        _number(2, register),
        _number(3, len(data)),
        _value(4, data),
        _value(5, bytes(len(data))),
    )


def connection(key: int, bits: int) -> bytes:
    """Match a connection with any of some bits in STATE or STATUS."""
    return (
        _expression("ct", _number(1, R0), _number(2, key))
        + mask(_NATIVE.pack(bits))
        + compare(bytes(4), operator=1)
    )


def to_this_host() -> bytes:
    """Match packets to an address of this host's own."""
    return _expression("fib", _number(1, R0), _number(2, 3), _number(3, 2)) + compare(_NATIVE.pack(2))


def is_in(name: str, *, register: int = R0, inverted: int = 0) -> bytes:
    """Match what a set holds, or does not."""
    flags = [_number(5, 1)] if inverted else []
    return _expression("lookup", _text(1, name), _number(2, register), *flags)


def look_up(name: str, *, key: int, into: int) -> bytes:
    """Load what a map has for a key; no match when it has nothing."""
    return _expression("lookup", _text(1, name), _number(2, key), _number(3, into))


def dnat(*, address: int, to_port: int, number: int = IPV4) -> bytes:
    """Send the connection elsewhere: registers of address and port."""
    return _expression("nat", _number(1, 1), _number(2, number), _number(3, address), _number(5, to_port))


def snat(*, address: int, number: int = IPV4) -> bytes:
    """Let the connection come from the address in a register."""
    return _expression("nat", _number(1, 0), _number(2, number), _number(3, address))


def masquerade() -> bytes:
    """Let the connection come from this host's address."""
    return _expression("masq")


def verdict(code: int, chain: str = "") -> bytes:
    """End the row by a verdict."""
    parts = [_number(1, code)] + ([_text(2, chain)] if chain else [])
    return _expression("immediate", _number(1, 0), pack_nested(2, pack_nested(2, *parts)))


def jump(chain: str) -> bytes:
    """Go on in another chain, and come back."""
    return verdict(_JUMP, chain)


# ---- transactions


class Transaction:
    """Changes of one table that happen together or not at all."""

    def __init__(self, table: str, number: int = INET) -> None:
        self._table = table
        self._family = number
        self._messages: list[tuple[int, int, bytes, str]] = []

    def __bool__(self) -> bool:
        return bool(self._messages)

    def _add(self, kind: int, flags: int, what: str, *attributes: bytes) -> None:
        body = _NFGENMSG.pack(self._family, 0, 0) + b"".join(attributes)
        self._messages.append((_SUBSYS | kind, flags, body, what))

    def add_table(self) -> None:
        """Make the table; one that is there stays."""
        self._add(_NEWTABLE, _CREATE, f"make table {self._table}", _text(1, self._table))

    def delete_table(self) -> None:
        """Remove the table with all it holds."""
        self._add(_DELTABLE, 0, f"remove table {self._table}", _text(1, self._table))

    def replace_table(self) -> None:
        """Begin the table anew."""
        self.add_table()
        self.delete_table()
        self.add_table()

    def add_chain(self, name: str, *, hook: int = -1, priority: int = 0, kind: str = "filter") -> None:
        """Make a chain; with a hook packets come to it by themselves, and its policy is accept."""
        body = [_text(1, self._table), _text(3, name)]
        if hook >= 0:
            body.append(pack_nested(4, _number(1, hook), _number(2, priority)))
            body += [_number(5, ACCEPT), _text(7, kind)]
        self._add(_NEWCHAIN, _CREATE, f"make chain {name}", *body)

    def flush_chain(self, name: str) -> None:
        """Remove a chain's rules."""
        self._add(_DELRULE, 0, f"empty chain {name}", _text(1, self._table), _text(2, name))

    def delete_chain(self, name: str) -> None:
        """Remove an empty chain that nobody jumps to."""
        self._add(_DELCHAIN, 0, f"remove chain {name}", _text(1, self._table), _text(3, name))

    def add_rule(self, chain: str, *expressions: bytes, before: int = 0) -> None:
        """Append a rule, or put it before the one of that handle."""
        body = [_text(1, self._table), _text(2, chain), pack_nested(4, *expressions)]
        if before:
            body.append(pack_attribute(6, _U64.pack(before)))
        self._add(_NEWRULE, _CREATE | (0 if before else _APPEND), f"add a rule to {chain}", *body)

    def delete_rule(self, chain: str, handle: int) -> None:
        """Remove the rule of a handle."""
        body = [_text(1, self._table), _text(2, chain), pack_attribute(3, _U64.pack(handle))]
        self._add(_DELRULE, 0, f"remove a rule of {chain}", *body)

    def add_set(
        self, name: str, key: Sequence[int], size: int, *, data: Sequence[int] = (), data_size: int = 0
    ) -> None:
        """Make a set, or a map when data is given; key and data: types, in order; sizes in bytes."""
        body = [
            _text(1, self._table),
            _text(2, name),
            _number(3, MAP if data else 0),
            _number(4, _concatenate(key)),
            _number(5, size),
            _number(10, len(self._messages) + 1),
        ]
        if data:
            body += [_number(6, _concatenate(data)), _number(7, data_size)]
        if tuple(key) == (IFNAME,):
            body.append(pack_attribute(13, _KEY_AS_IN_HOST))  # NFTA_SET_USERDATA
        self._add(_NEWSET, _CREATE, f"make set {name}", *body)

    def add_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Put elements in a set or map."""
        self._change_elements(_NEWSETELEM, _CREATE, name, elements)

    def delete_elements(self, name: str, elements: Iterable[Element]) -> None:
        """Take elements out of a set or map; each must be there."""
        self._change_elements(_DELSETELEM, 0, name, elements)

    def _change_elements(self, kind: int, flags: int, name: str, elements: Iterable[Element]) -> None:
        packed = [_pack_element(key, data) for key, data in elements]
        for start in range(0, len(packed), _ELEMENTS):
            some = pack_nested(3, *packed[start : start + _ELEMENTS])
            self._add(kind, flags, f"change set {name}", _text(1, self._table), _text(2, name), some)

    def commit(self, sock: socket) -> None:
        """Let the kernel do it; sock: of `open_firewall`, for one thread at a time.

        Raises:
            OSError: nothing has changed.
        """
        if not self._messages:
            return
        begin = netsocket.next_sequence()
        generation = _NFGENMSG.pack(0, 0, 10)
        packets = [pack_message(_BEGIN, NLM_F_REQUEST, generation, sequence=begin)]
        names = {begin: "begin"}
        last = begin
        for place, (kind, flags, body, what) in enumerate(self._messages):
            last = netsocket.next_sequence()
            names[last] = what
            flags |= NLM_F_ACK if place == len(self._messages) - 1 else 0
            packets.append(pack_message(kind, NLM_F_REQUEST | flags, body, sequence=last))
        packets.append(pack_message(_END, NLM_F_REQUEST, generation, sequence=netsocket.next_sequence()))
        netsocket.send(sock, b"".join(packets))
        _take_answers(sock, names, begin=begin, last=last)


def _take_answers(sock: socket, names: dict[int, str], *, begin: int, last: int) -> None:
    """Read errors until the last message is acknowledged, or the first one refused with all others."""
    error = None
    while True:
        for kind, sequence, answer in netsocket.receive(sock):
            if kind != NLMSG_ERROR or sequence not in names:
                continue
            number = -int(struct.unpack_from("=i", answer)[0])
            if number and error is None:
                error = fail(number, f"nftables: {names[sequence]}")
            if sequence == last or (number and sequence == begin):
                if error is not None:
                    raise error
                return


def _concatenate(types: Sequence[int]) -> int:
    number = 0
    for one in types:
        number = number << 6 | one
    return number


def _pack_element(key: bytes, data: bytes) -> bytes:
    parts = [_value(1, key)] + ([_value(2, data)] if data else [])
    return pack_nested(1, *parts)


def open_firewall() -> socket:
    """Return a socket for transactions in the calling thread's network namespace."""
    sock = netsocket.open_socket(NETLINK_NETFILTER)
    sock.setsockopt(SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    sock.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    return sock


def has_table(sock: socket, table: str, number: int = INET) -> bool:
    """Tell whether there is such a table."""
    body = _NFGENMSG.pack(number, 0, 0) + _text(1, table)
    request = netsocket.Request(_SUBSYS | _GETTABLE, body, what=f"find table {table}")
    try:
        netsocket.run(sock, [request])
    except FileNotFoundError:
        return False
    return True


def has_chain(sock: socket, table: str, chain: str, number: int = INET) -> bool:
    """Tell whether there is such a chain."""
    body = _NFGENMSG.pack(number, 0, 0) + _text(1, table) + _text(3, chain)
    request = netsocket.Request(_SUBSYS | _GETCHAIN, body, what=f"find chain {chain}")
    try:
        netsocket.run(sock, [request])
    except FileNotFoundError:
        return False
    return True
