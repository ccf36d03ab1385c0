"""Frames of hijacked streams: `[type, 0, 0, 0, length as big-endian u32]`, then the data. Lean.

Types 1 to 3 are Docker's, 4 and 5 sampan's own (docs/api.md, "sampan's own endpoints").
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT, STDERR, SYSTEM_ERROR, CREATED, END = 1, 2, 3, 4, 5
_HEAD = 8


class Frames:
    """Takes a byte stream apart into frames; output comes in pieces as it arrives, messages come whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kind = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield `(type, data)` for what is complete, of output also for what has come so far."""
        buffer = self._buffer
        buffer += data
        while True:
            if not self._left:
                if len(buffer) < _HEAD:
                    return
                self._kind, self._left = buffer[0], int.from_bytes(buffer[4:_HEAD], "big")
                del buffer[:_HEAD]
                continue  # of length 0: nothing to show
            whole = len(buffer) >= self._left
            if not buffer or (self._kind > STDERR and not whole):
                return
            piece = bytes(buffer[: self._left])
            del buffer[: len(piece)]
            self._left -= len(piece)
            yield self._kind, piece
