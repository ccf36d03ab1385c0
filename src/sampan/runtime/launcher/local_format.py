"""The files of the driver `local`, byte by byte (docs/logs.md, "Files"). Lean; pure but for `read_*`.

A live file holds frames as they come; when it is large enough, its frames become a block of the main file,
compressed. Numbers go up by one from block to block; a live file bears the number of the block it will be.
"""

from __future__ import annotations

import os
import struct
import zlib

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"SMPLOG1\n"
BLOCK_BYTES = 256 * 1024  # of frames; then they become a block
_HEAD = struct.Struct("<8sQI")
_BLOCK = struct.Struct("<4sIIIQQQII")
_FRAME = struct.Struct("<IBxxxQ")
_BLOCK_MAGIC = b"SBLK"
_DEFLATED = 1
_LEVEL = 1
_MAX_ATTRS = 1 << 20
_MAX_BLOCK = 1 << 27
BLOCK_HEAD_BYTES = _BLOCK.size
FRAME_HEAD_BYTES = _FRAME.size


class Damaged(Exception):
    """The bytes are not of this form: a crash cut them short, or they are someone else's."""


@record
class Head:
    """The beginning of every file: number (of a live file), attributes as JSON; length in bytes."""

    number: int
    attrs: str
    length: int


@record
class Block:
    """The head of a block, and where it lies."""

    offset: int
    stored_bytes: int
    raw_bytes: int
    records: int
    number: int
    first_ns: int
    last_ns: int
    deflated: bool
    check: int

    @property
    def end(self) -> int:
        """Where the next block begins."""
        return self.offset + BLOCK_HEAD_BYTES + self.stored_bytes


def pack_head(number: int, attrs: str) -> bytes:
    """Return the beginning of a file."""
    data = attrs.encode()
    return _HEAD.pack(MAGIC, number, len(data)) + data


def read_head(fd: int) -> Head:
    """Read the beginning of a file.

    Raises:
        Damaged: it is not there (yet).
    """
    raw = os.pread(fd, _HEAD.size, 0)
    if len(raw) < _HEAD.size:
        raise Damaged("the file has no head")
    magic, number, length = _HEAD.unpack(raw)
    attrs = os.pread(fd, length, _HEAD.size) if magic == MAGIC and length <= _MAX_ATTRS else b""
    if magic != MAGIC or len(attrs) < length:
        raise Damaged("the file has no head")
    return Head(number=number, attrs=attrs.decode(errors="replace"), length=_HEAD.size + length)


def pack_frame(piece: bytes, stream: int, at_ns: int) -> bytes:
    """Return a piece as a frame."""
    return _FRAME.pack(len(piece), stream, at_ns) + piece


def split_frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (stream, time, start, end) of each whole frame's text in data."""
    at, size = 0, len(data)
    while at + FRAME_HEAD_BYTES <= size:
        length, stream, at_ns = _FRAME.unpack_from(data, at)
        start = at + FRAME_HEAD_BYTES
        at = start + length
        if at > size:
            return
        yield stream, at_ns, start, at


def whole_frames(data: bytes) -> int:
    """Return how many bytes of data are whole frames."""
    end = 0
    for _, _, _, end in split_frames(data):  # noqa: B007  # the last one is wanted
        pass
    return end


def count_records(data: bytes, start: int, end: int) -> int:
    """Return how many records a frame's text holds: its lines, and a part of one."""
    return data.count(b"\n", start, end) + (end > start and data[end - 1] != 10)


def pack_block(frames: bytes, number: int, *, compress: bool) -> bytes:
    """Return the frames of a live file as a block."""
    records, first_ns, last_ns = 0, 0, 0
    for _, at_ns, start, end in split_frames(frames):
        first_ns = first_ns or at_ns
        last_ns = at_ns
        records += count_records(frames, start, end)
    stored = zlib.compress(frames, _LEVEL) if compress else frames
    head = _BLOCK.pack(
        _BLOCK_MAGIC, len(stored), len(frames), records, number, first_ns, last_ns,
        _DEFLATED if compress else 0, zlib.crc32(stored),
    )  # fmt: skip
    return head + stored


def read_blocks(fd: int, offset: int) -> Iterator[Block]:
    """Yield the heads of the blocks from offset on, as far as they are whole."""
    size = os.fstat(fd).st_size
    while offset + BLOCK_HEAD_BYTES <= size:
        raw = os.pread(fd, BLOCK_HEAD_BYTES, offset)
        if len(raw) < BLOCK_HEAD_BYTES:
            return
        magic, stored, length, records, number, first_ns, last_ns, flags, check = _BLOCK.unpack(raw)
        block = Block(
            offset=offset,
            stored_bytes=stored,
            raw_bytes=length,
            records=records,
            number=number,
            first_ns=first_ns,
            last_ns=last_ns,
            deflated=bool(flags & _DEFLATED),
            check=check,
        )
        if magic != _BLOCK_MAGIC or block.end > size or length > _MAX_BLOCK:
            return
        yield block
        offset = block.end


def read_frames(fd: int, block: Block) -> bytes:
    """Return the frames of a block.

    Raises:
        Damaged: the bytes on disk are not what was written.
    """
    stored = os.pread(fd, block.stored_bytes, block.offset + BLOCK_HEAD_BYTES)
    if len(stored) < block.stored_bytes or zlib.crc32(stored) != block.check:
        raise Damaged("a block's bytes have changed")
    if not block.deflated:
        return stored
    try:
        frames = zlib.decompressobj().decompress(stored, block.raw_bytes)
    except zlib.error as exc:
        raise Damaged(str(exc)) from exc
    if len(frames) != block.raw_bytes:
        raise Damaged("a block is cut short")
    return frames
