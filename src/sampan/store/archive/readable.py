"""What archives are read from."""

from __future__ import annotations

from typing import Protocol


class Readable(Protocol):
    """A stream of bytes; need not be seekable."""

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end."""
        ...
