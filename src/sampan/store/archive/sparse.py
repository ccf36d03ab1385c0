"""Maps of files with holes: GNU tar's old form and its three pax forms (0.0, 0.1, 1.0).

Source: GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.errors import InvalidArgument
from sampan.store.archive.headers import BLOCK, Entry, check_size, parse_number
from sampan.store.archive.limits import Limits
from sampan.store.archive.pax import SPARSE_PREFIX, Records, parse_decimal

ReadBlock = Callable[[], bytes]
Parts = list[tuple[int, int]]

_OLD_HEADER_AT, _OLD_HEADER_PARTS = 386, 4
_OLD_BLOCK_PARTS = 21
_OLD_REAL_SIZE = slice(483, 495)


def apply_old_gnu(entry: Entry, header: bytes, read_block: ReadBlock, limits: Limits) -> None:
    """Read the map of an entry of kind `S`: four parts in the header, 21 in each block behind it.

    Raises:
        InvalidArgument: the map does not fit the data.
    """
    parts = _old_parts(header, _OLD_HEADER_AT, _OLD_HEADER_PARTS)
    more = header[482]
    while more:
        block = read_block()
        parts += _old_parts(block, 0, _OLD_BLOCK_PARTS)
        _check_count(parts, limits)
        more = block[504]
    entry.size = check_size(parse_number(header[_OLD_REAL_SIZE], "real size"))
    entry.sparse = _checked(parts, entry)


def apply_pax(entry: Entry, records: Records, read_block: ReadBlock, limits: Limits) -> None:
    """Read the map that pax records announce, if they do; form 1.0 has it in front of the data.

    Raises:
        InvalidArgument: the map does not fit the data.
    """
    sparse = [(key[len(SPARSE_PREFIX) :], value) for key, value in records if key.startswith(SPARSE_PREFIX)]
    if not sparse:
        return
    last = dict(sparse)
    if b"name" in last:
        if b"\0" in last[b"name"]:
            raise InvalidArgument("archive: name of a sparse file has a NUL byte")
        entry.name = last[b"name"]
    real_size = last.get(b"realsize") or last.get(b"size")
    if real_size is None:
        return
    if (last.get(b"major"), last.get(b"minor")) == (b"1", b"0"):
        parts = _read_map(entry, read_block, limits)
    elif b"map" in last:
        parts = _pairs([parse_decimal(number) for number in last[b"map"].split(b",") if number], limits)
    else:
        numbers = [parse_decimal(value) for key, value in sparse if key in (b"offset", b"numbytes")]
        parts = _pairs(numbers, limits)
    entry.size = check_size(parse_decimal(real_size))
    entry.sparse = _checked(parts, entry)


def _old_parts(block: bytes, start: int, count: int) -> Parts:
    parts = []
    for position in range(start, start + count * 24, 24):
        if not block[position]:
            break
        offset = parse_number(block[position : position + 12], "offset")
        parts.append((offset, parse_number(block[position + 12 : position + 24], "length")))
    return parts


def _read_map(entry: Entry, read_block: ReadBlock, limits: Limits) -> Parts:
    """Read decimal lines, their number first, that fill whole blocks in front of the data."""
    text, wanted = b"", None
    while wanted is None or text.count(b"\n") < wanted:
        if entry.stored_bytes < BLOCK or len(text) > limits.special_bytes:
            raise InvalidArgument("archive: map of a sparse file is malformed or too long")
        text += read_block()
        entry.stored_bytes -= BLOCK
        if wanted is None and b"\n" in text:
            wanted = 1 + 2 * parse_decimal(text.partition(b"\n")[0])
    return _pairs([parse_decimal(line) for line in text.split(b"\n")[1:wanted]], limits)


def _pairs(numbers: list[int], limits: Limits) -> Parts:
    if len(numbers) % 2:
        raise InvalidArgument("archive: map of a sparse file has an odd number of numbers")
    parts = list(zip(numbers[::2], numbers[1::2], strict=True))
    _check_count(parts, limits)
    return parts


def _check_count(parts: Parts, limits: Limits) -> None:
    if len(parts) > limits.sparse_parts:
        raise InvalidArgument(f"archive: sparse file with more than {limits.sparse_parts} parts")


def _checked(parts: Parts, entry: Entry) -> Parts:
    """Return the map if its parts rise, lie inside the file, and are exactly the stored data."""
    end = 0
    for offset, length in parts:
        if offset < end or length < 0 or offset + length > entry.size:
            raise InvalidArgument("archive: map of a sparse file is out of order or out of range")
        end = offset + length
    if sum(length for _, length in parts) != entry.stored_bytes:
        raise InvalidArgument("archive: map of a sparse file does not fit its data")
    return parts
