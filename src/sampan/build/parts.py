"""Several streams in one request body, one after the other.

Each is pieces of 4 bytes of length (big endian) and data; a piece of length 0 ends it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from sampan.errors import InvalidArgument
from sampan.store.archive.readable import Readable

MEDIA_TYPE: Final = "application/vnd.sampan.build"
_LENGTH: Final = struct.Struct(">I")
_MAX_PIECE: Final = 16 << 20


def join_parts(parts: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """Yield the pieces of all parts."""
    for part in parts:
        for piece in part:
            if piece:
                yield _LENGTH.pack(len(piece))
                yield piece
        yield _LENGTH.pack(0)


class Part:
    """The next stream of a body; read it to its end before the one behind it. A `Readable`."""

    def __init__(self, body: Readable) -> None:
        self._body = body
        self._left = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end.

        Raises:
            InvalidArgument: the body ends too soon, or is none of parts.
        """
        if not self._left and not self._ended:
            self._left = _LENGTH.unpack(self._exactly(_LENGTH.size))[0]
            self._ended = not self._left
            if self._left > _MAX_PIECE:
                raise InvalidArgument(f"a piece of {self._left} bytes: the body is not made of parts")
        if self._ended:
            return b""
        piece = self._exactly(min(size, self._left))
        self._left -= len(piece)
        return piece

    def read_all(self, limit: int) -> bytes:
        """Return the rest, of limited size.

        Raises:
            InvalidArgument: it is larger.
        """
        found = b""
        while piece := self.read(limit + 1 - len(found)):
            found += piece
            if len(found) > limit:
                raise InvalidArgument(f"a part exceeds {limit} bytes")
        return found

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._body.read(size - len(found))
            if not piece:
                raise InvalidArgument("the body ends in the middle of a part")
            found += piece
        return found
