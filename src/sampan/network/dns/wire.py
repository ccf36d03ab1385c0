"""DNS messages: one question in, answers out. Lean. Decision: our own, for its speed (docs/decisions).

Only what a stub resolver's server needs: a query has one question and perhaps an EDNS record; an answer
repeats the question and points at its name. Answers of other servers are not taken apart, only measured
(`find_ttls`). Every length and pointer is checked; no loop follows pointers.
Source: RFC 1035, section 4; RFC 6891 (EDNS); RFC 2308 (TTL of "no such name").
"""

from __future__ import annotations

import struct

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

A, SOA, PTR, AAAA, OPT, ANY = 1, 6, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16  # RFC 6891, section 9; its upper bits lie in the OPT record

QR, OPCODE, TC, RD, RA, CD = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080, 0x0010
HEADER = struct.Struct("!HHHHHH")  # id, flags, counts of questions, answers, authorities, additional
_TYPE_CLASS = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length of the data; behind the name
_ANSWER = struct.Struct("!HHHIH")  # the same behind a pointer to the question's name
_POINTER = 0xC000 | HEADER.size
MIN_SIZE = 512  # bytes any client takes by UDP
OUR_SIZE = 4096  # bytes we take by UDP: the queries never leave the loopback device
MAX_NAME = 255
MAX_LABEL = 63


class Malformed(Exception):
    """The message breaks RFC 1035; nothing was decided about it."""


@record
class Question:
    """One query.

    name: as `make_key` writes it. end: where the question ends in the message. size: bytes the client
    takes by UDP. edns: the version, -1 without an EDNS record. opcode 0 is an ordinary query.
    """

    id: int
    flags: int
    opcode: int
    name: str
    kind: int
    klass: int
    asked: bytes  # the question section as it came
    size: int
    edns: int


def make_key(text: str) -> str:
    """Return a name in the form that questions have: small letters, no dot at the end."""
    return text.encode("utf-8", "replace").lower().decode("latin-1").removesuffix(".")


def pack_name(text: str) -> bytes:
    """Return a name, dots between its labels, as it goes over the wire.

    Raises:
        ValueError: a label is empty or has over 63 bytes, or the whole over 255.
    """
    packed = bytearray()
    for label in text.removesuffix(".").split(".") if text not in ("", ".") else ():
        raw = label.encode("utf-8")
        if not 0 < len(raw) <= MAX_LABEL:
            raise ValueError(f"label {label!r} has {len(raw)} bytes")
        packed += bytes((len(raw),)) + raw
    packed.append(0)
    if len(packed) > MAX_NAME:
        raise ValueError(f"name {text[:80]!r}… has {len(packed)} bytes")
    return bytes(packed)


def parse_query(data: bytes) -> Question:
    """Take a query apart.

    Raises:
        Malformed: it has not one question, or is cut off, or is an answer.
    """
    if len(data) < HEADER.size:
        raise Malformed("no header")
    number, flags, questions, answers, authorities, others = HEADER.unpack_from(data)
    if flags & QR:
        raise Malformed("an answer")
    if questions != 1:
        raise Malformed(f"{questions} questions")
    name, offset = _read_name(data, HEADER.size)
    if len(data) - offset < _TYPE_CLASS.size:
        raise Malformed("question is cut off")
    kind, klass = _TYPE_CLASS.unpack_from(data, offset)
    offset += _TYPE_CLASS.size
    size, edns = _read_edns(data, offset, answers + authorities, others)
    return Question(
        id=number,
        flags=flags,
        opcode=(flags & OPCODE) >> 11,
        name=name,
        kind=kind,
        klass=klass,
        asked=data[HEADER.size : offset],
        size=size,
        edns=edns,
    )


def _read_name(data: bytes, offset: int) -> tuple[str, int]:
    """Return the question's name as a key, and where it ends. It comes first: nothing to point at yet."""
    labels = []
    start = offset
    while True:
        length = data[offset] if offset < len(data) else MAX_LABEL + 1
        if length > MAX_LABEL or offset + 1 + length > len(data):
            raise Malformed("name is cut off, or has a pointer")
        offset += 1
        if offset + length - start > MAX_NAME:
            raise Malformed("name is too long")
        if not length:
            break
        # A dot inside a label is no border; the escaped form equals no published name.
        labels.append(data[offset : offset + length].lower().replace(b".", b"\\."))
        offset += length
    return b".".join(labels).decode("latin-1"), offset


def _read_edns(data: bytes, offset: int, before: int, others: int) -> tuple[int, int]:
    """Return (size the client takes, EDNS version or -1) from the records behind the question."""
    size, version = MIN_SIZE, -1
    for index in range(before + others):
        offset, kind, klass, ttl, _ = _read_record(data, offset)
        if kind == OPT and index >= before:
            if version >= 0:
                raise Malformed("two EDNS records")  # RFC 6891, section 6.1.1
            size, version = max(klass, MIN_SIZE), ttl >> 16 & 0xFF
    return size, version


def _read_record(data: bytes, offset: int) -> tuple[int, int, int, int, int]:
    """Return (end, type, class, TTL, where the data starts) of the record at offset."""
    offset = _skip_name(data, offset)
    if len(data) - offset < _RECORD.size:
        raise Malformed("record is cut off")
    kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
    start = offset + _RECORD.size
    if start + length > len(data):
        raise Malformed("record's data is cut off")
    return start + length, kind, klass, ttl, start


def _skip_name(data: bytes, offset: int) -> int:
    while offset < len(data):
        length = data[offset]
        if length >= 0xC0:
            return offset + 2
        if length > MAX_LABEL:
            break
        offset += 1 + length
        if not length:
            return offset
    raise Malformed("name is cut off")


def make_answer(
    question: Question,
    code: int,
    answers: Sequence[tuple[int, bytes]] = (),
    *,
    ttl: int = 0,
    limit: int = 0xFFFF,
) -> bytes:
    """Return the answer, with (type, data) of each record, all for the name that was asked for.

    What exceeds limit bytes is left out and the message marked as truncated.
    """
    tail = b"" if question.edns < 0 else _pack_edns(code)
    room = limit - HEADER.size - len(question.asked) - len(tail)
    packed: list[bytes] = []
    flags = QR | RA | question.flags & (OPCODE | RD | CD) | code & 0xF
    for kind, data in answers:
        piece = _ANSWER.pack(_POINTER, kind, IN, ttl, len(data)) + data
        room -= len(piece)
        if room < 0:
            flags |= TC
            break
        packed.append(piece)
    header = HEADER.pack(question.id, flags, 1, len(packed), 0, 1 if tail else 0)
    return b"".join((header, question.asked, *packed, tail))


def _pack_edns(code: int) -> bytes:
    """Return our EDNS record: the root's name, our size, the upper bits of the code."""
    return b"\0" + _RECORD.pack(OPT, OUR_SIZE, (code >> 4) << 24, 0)


def refuse(data: bytes, code: int) -> bytes:
    """Return an answer to a message that could not be taken apart: header and error only."""
    number, flags = struct.unpack_from("!HH", data)
    return HEADER.pack(number, QR | RA | flags & (OPCODE | RD) | code, 0, 0, 0, 0)


def find_ttls(answer: bytes) -> tuple[int, list[int]]:
    """Return how long an answer may be kept, in seconds, and where its TTLs lie.

    0 seconds: not at all (truncated, an error, or "no such name" without an SOA record to say how long).

    Raises:
        Malformed: it is cut off somewhere.
    """
    if len(answer) < HEADER.size:
        raise Malformed("no header")
    _, flags, questions, answers, authorities, others = HEADER.unpack_from(answer)
    offset = HEADER.size
    for _ in range(questions):
        offset = _skip_name(answer, offset) + _TYPE_CLASS.size
    shortest, places, soa = 0x7FFFFFFF, [], -1
    for index in range(answers + authorities + others):
        offset, kind, _, ttl, start = _read_record(answer, offset)
        if kind == OPT:
            continue
        places.append(start - 6)
        shortest = min(shortest, ttl if ttl <= 0x7FFFFFFF else 0)  # RFC 2181, section 8
        if kind == SOA and answers <= index < answers + authorities and offset - start >= 20:
            soa = min(ttl, struct.unpack_from("!I", answer, offset - 4)[0])
    if flags & TC or flags & 0xF not in (NOERROR, NXDOMAIN):
        return 0, places
    if not answers:
        shortest = min(shortest, soa) if soa >= 0 else 0
    return shortest if places else 0, places


def is_answer_to(answer: bytes, query: bytes, question_end: int) -> bool:
    """Tell whether a server's answer is for this query: number and question are the same (RFC 5452, 9.1)."""
    return (
        len(answer) >= question_end
        and answer[:2] == query[:2]
        and bool(answer[2] & 0x80)
        and answer[4:6] == query[4:6]
        and answer[HEADER.size : question_end].lower() == query[HEADER.size : question_end].lower()
    )
