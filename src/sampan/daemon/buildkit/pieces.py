"""What a client sends in pieces of its own size, as a file that a thread reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar


class _HasData(Protocol):
    data: bytes


Message = TypeVar("Message", bound=_HasData)


class Pieces:
    """A `Readable`. take: gives the next piece, b"" at the end."""

    def __init__(self, take: Callable[[], bytes]) -> None:
        self._take = take
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end."""
        if not self._rest:
            self._rest = self._take()
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


async def next_data(receive: Callable[[], Awaitable[Message | None]]) -> bytes:
    """Return the content of a stream's next message that has any, b"" at its end."""
    while (message := await receive()) is not None:
        if message.data:
            return message.data
    return b""
