"""Values as D-Bus puts them on the wire: little-endian, each aligned to its size. Lean (decision 0002).

A value goes with its signature: numbers as int, `b` as bool, texts (`s`, `o`, `g`) as str, arrays as list,
structs as tuple, a dictionary as a list of pairs, a variant as the pair (signature, value).
Source: D-Bus Specification 0.42, "Type System" and "Marshaling".
"""

from __future__ import annotations

import struct

from sampan.errors import InvalidArgument

_NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNMENT = {
    "n": 2,
    "q": 2,
    "i": 4,
    "u": 4,
    "b": 4,
    "s": 4,
    "o": 4,
    "a": 4,
    "x": 8,
    "t": 8,
    "d": 8,
    "(": 8,
    "{": 8,
}
_MAX_DEPTH = 32  # of containers, each kind; the specification's limit


def split_signature(signature: str) -> list[str]:
    """Return the complete types that a signature is made of: `sa(sv)u` is `s`, `a(sv)`, `u`.

    Raises:
        InvalidArgument: it is none.
    """
    types = []
    rest = signature
    while rest:
        length = _length_of_one(rest, 0)
        types.append(rest[:length])
        rest = rest[length:]
    return types


def _length_of_one(signature: str, depth: int) -> int:
    head = signature[:1]
    if depth <= _MAX_DEPTH:
        if head == "a":
            return 1 + _length_of_one(signature[1:], depth + 1)
        if head and head in "({":
            end, position = ")" if head == "(" else "}", 1
            while signature[position : position + 1] not in (end, ""):
                position += _length_of_one(signature[position:], depth + 1)
            if position > 1 and signature[position : position + 1] == end:
                return position + 1
        elif head and (head in _NUMBERS or head in "bsogvh"):
            return 1
    raise InvalidArgument(f"D-Bus signature {signature!r} is not valid")


def pack(signature: str, values: tuple[object, ...]) -> bytes:
    """Return values, one for each complete type of signature, as the body of a message."""
    out = bytearray()
    for kind, value in zip(split_signature(signature), values, strict=True):
        _pack_one(out, kind, value)
    return bytes(out)


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _pack_one(out: bytearray, kind: str, value: object) -> None:
    head = kind[0]
    _pad(out, _ALIGNMENT.get(head, 1))
    if head in _NUMBERS:
        out += struct.pack(f"<{_NUMBERS[head]}", value)
    elif head == "b":
        out += struct.pack("<I", 1 if value else 0)
    elif head in "so":
        assert isinstance(value, str)
        data = value.encode()
        out += struct.pack("<I", len(data)) + data + b"\0"
    elif head == "g":
        assert isinstance(value, str)
        out += bytes((len(value),)) + value.encode() + b"\0"
    elif head == "v":
        assert isinstance(value, tuple)
        _pack_one(out, "g", value[0])
        _pack_one(out, value[0], value[1])
    elif head == "a":
        assert isinstance(value, (list, tuple))
        _pack_array(out, kind[1:], value)
    else:
        assert isinstance(value, tuple)
        for part, item in zip(split_signature(kind[1:-1]), value, strict=True):
            _pack_one(out, part, item)


def _pack_array(out: bytearray, kind: str, items: list[object] | tuple[object, ...]) -> None:
    place = len(out)
    out += bytes(4)
    _pad(out, _ALIGNMENT.get(kind[0], 1))  # not counted in the length
    start = len(out)
    for item in items:
        _pack_one(out, kind, item)
    struct.pack_into("<I", out, place, len(out) - start)


def unpack(signature: str, data: bytes) -> tuple[object, ...]:
    """Return the values of a message's body.

    Raises:
        InvalidArgument: data is shorter than signature says, or malformed.
    """
    reader = _Reader(data)
    try:
        return tuple(reader.read(kind, 0) for kind in split_signature(signature))
    except (struct.error, IndexError, UnicodeDecodeError) as exc:
        raise InvalidArgument(f"D-Bus message of type {signature!r} is malformed") from exc


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, kind: str, depth: int) -> object:
        head = kind[0]
        if depth > 2 * _MAX_DEPTH:
            raise InvalidArgument("D-Bus message is nested too deep")
        self._skip_to(_ALIGNMENT.get(head, 1))
        if head in _NUMBERS:
            return self._number(_NUMBERS[head])
        if head == "b":
            return self._number("I") != 0
        if head in "so":
            return self._text(self._length())
        if head == "g":
            return self._text(self._data[self._take(1)])
        if head == "v":
            inside = self._text(self._data[self._take(1)])
            if len(split_signature(inside)) != 1:
                raise InvalidArgument(f"D-Bus variant of type {inside!r} is malformed")
            return inside, self.read(inside, depth + 1)
        if head == "a":
            return self._array(kind[1:], depth)
        return tuple(self.read(part, depth + 1) for part in split_signature(kind[1:-1]))

    def _array(self, kind: str, depth: int) -> list[object]:
        length = self._length()
        self._skip_to(_ALIGNMENT.get(kind[0], 1))
        end = self._position + length
        if end > len(self._data):
            raise InvalidArgument("D-Bus array is longer than its message")
        items = []
        while self._position < end:
            items.append(self.read(kind, depth + 1))
        return items

    def _skip_to(self, alignment: int) -> None:
        self._position += -self._position % alignment

    def _take(self, count: int) -> int:
        start = self._position
        self._position += count
        return start

    def _length(self) -> int:
        (length,) = struct.unpack_from("<I", self._data, self._take(4))
        return int(length)

    def _number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self._data, self._take(struct.calcsize(f"<{code}")))
        number: int = value
        return number

    def _text(self, length: int) -> str:
        start = self._take(length + 1)
        if self._position > len(self._data):
            raise InvalidArgument("D-Bus text is longer than its message")
        return self._data[start : start + length].decode()
