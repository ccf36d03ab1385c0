"""Policy: which answer a question gets through a view. Pure but for the zone. Lean.

An answer is a list of variants, each of which begins with another address; whoever sends them takes turns.
"""

from __future__ import annotations

from sampan.network.dns.addresses import common_prefix, parse_reverse
from sampan.network.dns.wire import (
    AAAA,
    ANY,
    BADVERS,
    FORMERR,
    IN,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    PTR,
    REFUSED,
    A,
    Malformed,
    make_answer,
    pack_name,
    parse_query,
    refuse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.network.dns.model import View
    from sampan.network.dns.wire import Question
    from sampan.network.dns.zone import Place, Zone

MAX_VARIANTS = 64
_LIMIT_TCP = 0xFFFF
_LIMIT_UDP = 4096


def answer(zone: Zone, view: View, data: bytes, *, tcp: bool) -> list[bytes] | Question:
    """Return the variants of the answer to a query; the question itself when it must be forwarded.

    No variants: the message deserves none (an answer, or too short for one).
    """
    try:
        question = parse_query(data)
    except Malformed:
        return [refuse(data, FORMERR)] if len(data) >= 12 and not data[2] & 0x80 else []
    limit = _LIMIT_TCP if tcp else min(question.size, _LIMIT_UDP)
    decided = _decide(zone, view, question)
    if decided is None:
        return question
    code, variants = decided
    return [make_answer(question, code, records, limit=limit) for records in variants or ((),)]


_Decision = tuple[int, "Sequence[Sequence[tuple[int, bytes]]]"]


def _decide(zone: Zone, view: View, question: Question) -> _Decision | None:
    """Return the code and variants of records, or None to forward."""
    if question.edns > 0:
        return BADVERS, ()
    if question.opcode:
        return NOTIMP, ()
    if question.klass not in (IN, ANY):
        return REFUSED, ()
    local = _reverse(zone, view, question) if question.name.endswith(".arpa") else None
    if local is None:
        local = _forward(zone, view, question)
    if local is not None:
        return local
    return None if _may_ask_upstream(view, question) else (NXDOMAIN, ())


def _may_ask_upstream(view: View, question: Question) -> bool:
    if view.ndots > 0 and question.kind in (A, AAAA) and "." not in question.name:
        return False
    return bool(view.servers)


def _reverse(zone: Zone, view: View, question: Question) -> _Decision | None:
    address = parse_reverse(question.name)
    name = None if address is None else zone.find_address(view, address)
    if name is None:
        return None
    if not name:
        return NXDOMAIN, ()
    try:
        records = [(PTR, pack_name(name))]
    except ValueError:  # a name that DNS cannot say
        return NXDOMAIN, ()
    return NOERROR, [records] if question.kind in (PTR, ANY) else ()


def _forward(zone: Zone, view: View, question: Question) -> _Decision | None:
    places = zone.find(view, question.name)
    if places is None:
        return None
    if not any(place.addresses for place in places):
        return NXDOMAIN, ()
    v4, v6 = _addresses(places, 4), _addresses(places, 16)
    match question.kind:
        case 1:  # A
            return NOERROR, _rotate(A, v4)
        case 28:  # AAAA
            return NOERROR, _rotate_sorted(v6, zone.own_addresses(view))
        case 255:  # ANY
            return NOERROR, [[(A, one) for one in v4] + [(AAAA, one) for one in v6]]
        case _:
            return NOERROR, ()


def _addresses(places: Sequence[Place], size: int) -> list[bytes]:
    return [address for place in places for address in place.addresses if len(address) == size]


def _rotate(kind: int, addresses: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
    """Return the records, beginning with each address in turn."""
    records = [(kind, address) for address in addresses]
    return [records[first:] + records[:first] for first in range(min(len(records), MAX_VARIANTS))]


def _rotate_sorted(addresses: Sequence[bytes], own: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
    """Return the records in turn for a client that sorts by the prefix shared with each (RFC 6724, rule 9).

    Left out of a variant is what the client would put before the first one.
    """
    sources = [address for address in own if len(address) == 16]
    shared = {
        address: max((common_prefix(address, source) for source in sources), default=0)
        for address in addresses
    }
    return [
        [record for record in records if shared[record[1]] <= shared[records[0][1]]]
        for records in _rotate(AAAA, addresses)
    ]
