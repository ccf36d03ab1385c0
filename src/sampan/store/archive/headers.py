"""One 512-byte tar header: v7, ustar, star and GNU forms. Every number is checked.

Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from sampan.errors import InvalidArgument

BLOCK: Final = 512
REGULAR: Final = b"0"
HARD_LINK: Final = b"1"
SYMLINK: Final = b"2"
CHARACTER: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
CONTIGUOUS: Final = b"7"
PAX: Final = b"x"
PAX_GLOBAL: Final = b"g"
GNU_LONG_NAME: Final = b"L"
GNU_LONG_LINK: Final = b"K"
GNU_SPARSE: Final = b"S"

ZERO_BLOCK: Final = bytes(BLOCK)
WITHOUT_DATA: Final = frozenset({HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
MAX_SIZE: Final = 1 << 62
_MAX_ID = (1 << 32) - 2  # the last one means "no change" to chown(2)
_MAX_SECONDS = 1 << 62
_MAX_DEVICE_PART = (1 << 32) - 1

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_USTAR = b"ustar\x0000"
_GNU = b"ustar  \0"
_STAR_TRAILER = b"tar\0"


class Entry:
    """One member of an archive. Names are bytes as the archive has them: unchecked."""

    __slots__ = (
        "device",
        "gid",
        "kind",
        "linkname",
        "mode",
        "mtime_ns",
        "name",
        "size",
        "sparse",
        "stored_bytes",
        "uid",
        "xattrs",
    )

    name: bytes
    kind: bytes  # one of the constants above
    mode: int  # twelve bits
    uid: int
    gid: int
    size: int  # of the file; with holes larger than what is stored
    stored_bytes: int  # of the data behind the header
    mtime_ns: int
    linkname: bytes
    device: tuple[int, int]  # major, minor
    xattrs: dict[bytes, bytes] | None
    sparse: list[tuple[int, int]] | None  # (offset, length) of the stored parts, None: no holes


def parse_header(block: bytes) -> Entry:
    """Read one header.

    Raises:
        InvalidArgument: it is no tar header, its checksum is wrong, or a number is out of range.
    """
    (
        raw_name, mode, uid, gid, size, mtime, checksum, kind, linkname, magic,
        _user, _group, major, minor, prefix, _padding,
    ) = _FIELDS.unpack(block)  # fmt: skip
    _check_sum(block, checksum)
    entry = Entry()
    name = raw_name.partition(b"\0")[0]
    if magic == _USTAR and prefix[0]:
        if block.endswith(_STAR_TRAILER):
            prefix = prefix[:131]  # star keeps two times behind it
        name = prefix.partition(b"\0")[0] + b"/" + name
    entry.name = name
    if kind == b"\0":  # v7 has no directories: a slash at the end marks one
        kind = DIRECTORY if name.endswith(b"/") else REGULAR
    entry.kind = REGULAR if kind == CONTIGUOUS else kind
    entry.mode = parse_number(mode, "mode") & 0o7777
    entry.uid = _check_range(parse_number(uid, "uid"), _MAX_ID, "uid")
    entry.gid = _check_range(parse_number(gid, "gid"), _MAX_ID, "gid")
    entry.size = _check_range(parse_number(size, "size"), MAX_SIZE, "size")
    entry.stored_bytes = 0 if kind in WITHOUT_DATA else entry.size  # archive/tar of Go reads it the same way
    entry.mtime_ns = check_seconds(parse_number(mtime, "mtime")) * 1_000_000_000
    entry.linkname = linkname.partition(b"\0")[0]
    entry.device = (0, 0)
    if kind == CHARACTER or kind == BLOCK_DEVICE:
        entry.device = (_parse_device(major), _parse_device(minor))
    entry.xattrs = None
    entry.sparse = None
    return entry


@lru_cache(maxsize=4096)
def parse_number(raw: bytes, what: str) -> int:
    """Read a numeric field: octal digits, or GNU's base 256 when the first bit is set.

    Raises:
        InvalidArgument: it has other characters than the digits 0 to 7 between spaces and NULs.
    """
    if raw[0] & 0x80:
        return _parse_base256(raw)
    digits = raw.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:  # int() would take signs and underscores
        raise InvalidArgument(f"archive: {what} {digits!r} is no octal number")
    return int(digits, 8)


def check_size(value: int) -> int:
    """Return a size that came by another way than the header's field (pax)."""
    return _check_range(value, MAX_SIZE, "size")


def check_id(value: int, what: str) -> int:
    """Return a user or group id that came by another way than the header's field (pax)."""
    return _check_range(value, _MAX_ID, what)


def check_seconds(value: int) -> int:
    """Return a time that the kernel's interface can take."""
    if abs(value) > _MAX_SECONDS:
        raise InvalidArgument(f"archive: time {value} is out of range")
    return value


def _check_range(value: int, maximum: int, what: str) -> int:
    if not 0 <= value <= maximum:
        raise InvalidArgument(f"archive: {what} {value} is out of range")
    return value


def _parse_base256(raw: bytes) -> int:
    """Two's complement, big endian; the first bit only marks the form, the second is the sign."""
    value = int.from_bytes(raw, "big")
    bits = 8 * len(raw) - 1
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _parse_device(raw: bytes) -> int:
    return _check_range(parse_number(raw, "device"), _MAX_DEVICE_PART, "device number")


def _check_sum(block: bytes, field: bytes) -> None:
    """The sum of all bytes with the field itself as spaces; some old writers took bytes as signed."""
    try:
        want = parse_number(field, "checksum")
    except InvalidArgument:
        want = -1
    unsigned = sum(block) - sum(field) + 8 * 32
    if want == unsigned:
        return
    high = sum(1 for byte in block if byte > 127) - sum(1 for byte in field if byte > 127)
    if want != unsigned - 256 * high:
        raise InvalidArgument(
            "archive: not a tar archive, or damaged (a header's checksum is wrong)"
        ) from None
