"""The members of a tar archive in their order, from a stream of chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sampan.errors import InvalidArgument
from sampan.store.archive import headers, pax, sparse
from sampan.store.archive.headers import BLOCK, Entry, parse_header
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits

ReadChunk = Callable[[], bytes]

_KNOWN = headers.WITHOUT_DATA | {headers.REGULAR, headers.GNU_SPARSE}
_SKIPPED = frozenset(
    {headers.PAX_GLOBAL, b"V", b"D"}
)  # Docker ignores global headers; volume label, dump list
_TRUNCATED = "archive: ends in the middle of an entry"


class TarReader:
    """Iterate over it; take the data of an entry (or part of it, or none) before going on to the next."""

    def __init__(self, read_chunk: ReadChunk, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._read_chunk = read_chunk
        self._limits = limits
        self._chunk = b""
        self._view = memoryview(b"")
        self._position = 0
        self._before = 0  # bytes of the chunks before this one
        self._data_left = 0
        self._padding = 0
        self._entries = 0

    @property
    def offset(self) -> int:
        """Where in the archive the next byte is; behind `next_entry`, where the entry's data begins."""
        return self._before + self._position

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next_entry()) is not None:
            yield entry

    def next_entry(self) -> Entry | None:
        """Return the next entry, None at the end of the archive.

        Raises:
            InvalidArgument: the archive is damaged, or asks for more than the limits.
        """
        self._skip(self._data_left)
        self._skip_padding()
        records: pax.Records = []
        long_name = long_link = None
        for _ in range(self._limits.special_headers):
            block = self._next_header()
            if block is None:
                return None
            entry = parse_header(block)
            if entry.kind == headers.PAX:
                records = pax.parse_records(self._read_special(entry))
            elif entry.kind == headers.GNU_LONG_NAME:
                long_name = self._read_special(entry).partition(b"\0")[0]
            elif entry.kind == headers.GNU_LONG_LINK:
                long_link = self._read_special(entry).partition(b"\0")[0]
            elif entry.kind in _SKIPPED:
                self._skip(_padded(entry.stored_bytes))
            else:
                entry.name = long_name or entry.name
                entry.linkname = long_link or entry.linkname
                return self._finish(entry, block, records)
        raise InvalidArgument("archive: too many extended headers before one entry")

    def data(self) -> Iterator[memoryview]:
        """Yield the stored data of the current entry in pieces; each is valid until the next."""
        while self._data_left:
            piece = self._take(self._data_left)
            self._data_left -= len(piece)
            yield piece

    def _finish(self, entry: Entry, block: bytes, records: pax.Records) -> Entry:
        if entry.kind not in _KNOWN:
            raise InvalidArgument(f"archive: entry {entry.name[:100]!r} has unknown type {entry.kind!r}")
        self._entries += 1
        if self._entries > self._limits.entries:
            raise InvalidArgument(f"archive: more than {self._limits.entries} entries")
        if records:
            pax.apply_records(entry, records)
            sparse.apply_pax(entry, records, self._read_block, self._limits)
        if entry.kind == headers.GNU_SPARSE:
            sparse.apply_old_gnu(entry, block, self._read_block, self._limits)
            entry.kind = headers.REGULAR
        self._data_left = entry.stored_bytes
        self._padding = -entry.stored_bytes % BLOCK
        return entry

    def _next_header(self) -> bytes | None:
        """Return the next block, None at the archive's end: two blocks of zeros, or no data."""
        if not self._fill():
            return None
        block = self._read_block()
        if block != headers.ZERO_BLOCK:
            return block
        if self._fill() and self._read_block() != headers.ZERO_BLOCK:
            raise InvalidArgument("archive: damaged (a single block of zeros)")
        return None

    def _read_special(self, entry: Entry) -> bytes:
        if entry.stored_bytes > self._limits.special_bytes:
            raise InvalidArgument(f"archive: extended header of {entry.stored_bytes} bytes")
        data = self._read_exactly(entry.stored_bytes)
        self._skip(-entry.stored_bytes % BLOCK)
        return data

    def _read_block(self) -> bytes:
        position = self._position
        if position + BLOCK <= len(self._chunk):  # nearly always: one slice
            self._position = position + BLOCK
            return self._chunk[position : position + BLOCK]
        return self._read_exactly(BLOCK)

    def _read_exactly(self, size: int) -> bytes:
        parts = []
        while size:
            piece = self._take(size)
            parts.append(bytes(piece))
            size -= len(piece)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._take(size))

    def _skip_padding(self) -> None:
        """Go behind the data's last block, which may be missing at the end (umoci); Go's reader allows it."""
        while self._padding and self._fill():
            self._padding -= len(self._take(self._padding))
        self._data_left = self._padding = 0

    def _take(self, size: int) -> memoryview:
        """Return the next bytes, at least one and at most size."""
        if not self._fill():
            raise InvalidArgument(_TRUNCATED)
        piece = self._view[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def _fill(self) -> bool:
        """Make sure that a byte is there; False at the end of the data."""
        if self._position < len(self._chunk):
            return True
        self._before += len(self._chunk)
        self._chunk = self._read_chunk()
        self._view = memoryview(self._chunk)
        self._position = 0
        return bool(self._chunk)


def _padded(size: int) -> int:
    return size + -size % BLOCK
