"""Extended headers: pax records and what they say about the entry behind them.

Source: POSIX.1-2017, pax, "pax Extended Header"; star(5) for SCHILY.xattr.
"""

from __future__ import annotations

from typing import Final

from sampan.errors import InvalidArgument
from sampan.store.archive.headers import WITHOUT_DATA, Entry, check_id, check_seconds, check_size

XATTR_PREFIX: Final = b"SCHILY.xattr."
SPARSE_PREFIX: Final = b"GNU.sparse."
_MAX_LENGTH_DIGITS = 7
_MAX_NUMBER_DIGITS = 20
_NAMES = (b"path", b"linkpath")
_NANO = 1_000_000_000

Records = list[tuple[bytes, bytes]]


def parse_records(data: bytes) -> Records:
    """Return (key, value) in their order; a record is `length key=value newline`, length counting itself.

    Raises:
        InvalidArgument: a record is malformed.
    """
    records: Records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + _MAX_LENGTH_DIGITS + 1)
        digits = data[position : max(space, position)]
        if not digits.isdigit():
            raise InvalidArgument("archive: malformed pax header")
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
            raise InvalidArgument("archive: malformed pax header")
        if b"\0" in key or (key in _NAMES and b"\0" in value):
            raise InvalidArgument(f"archive: pax header {key!r} has a NUL byte")
        records.append((key, value))
        position = end
    return records


def apply_records(entry: Entry, records: Records) -> None:
    """Override the entry's fields; an empty value leaves the header's own, the last of several counts.

    Raises:
        InvalidArgument: a value is out of range.
    """
    for key, value in records:
        if key.startswith(XATTR_PREFIX):
            _set_xattr(entry, key[len(XATTR_PREFIX) :], value)
        elif not value:
            continue
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.linkname = value
        elif key == b"size":
            entry.size = check_size(parse_decimal(value))
            entry.stored_bytes = 0 if entry.kind in WITHOUT_DATA else entry.size
        elif key == b"uid":
            entry.uid = check_id(parse_decimal(value), "uid")
        elif key == b"gid":
            entry.gid = check_id(parse_decimal(value), "gid")
        elif key == b"mtime":
            entry.mtime_ns = _parse_time_ns(value)


def parse_decimal(text: bytes) -> int:
    """Read a non-negative decimal number of sensible length.

    Raises:
        InvalidArgument: it has anything but digits.
    """
    if not text.isdigit() or len(text) > _MAX_NUMBER_DIGITS:
        raise InvalidArgument(f"archive: {text[:40]!r} is no number")
    return int(text)


def _set_xattr(entry: Entry, name: bytes, value: bytes) -> None:
    if entry.xattrs is None:
        entry.xattrs = {}
    entry.xattrs[name] = value


def _parse_time_ns(text: bytes) -> int:
    """Read `[-]seconds[.fraction]` without a float, which has too few digits."""
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    seconds = check_seconds(parse_decimal(whole.removeprefix(b"-") or b"0"))
    if fraction and not fraction.isdigit():
        raise InvalidArgument(f"archive: {text[:40]!r} is no time")
    nanos = seconds * _NANO + int(fraction[:9].ljust(9, b"0"))
    return -nanos if negative else nanos
