"""Long lines made whole again: the log has them in parts of 16 KiB."""

from __future__ import annotations

from typing import Final

from sampan.engine.types import LogEntry

_LIMIT: Final = 1 << 20  # of a line that is held back; what is longer follows in parts


class LineJoiner:
    """Holds back the parts of a line of each stream until it ends."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}
        self._sizes: dict[int, int] = {}

    def is_continuing(self, stream: int) -> bool:
        """Tell whether the next text of stream goes on with a line."""
        return stream in self._parts

    def add(self, stream: int, text: bytes) -> list[LogEntry]:
        """Take a text of stream and return what may be shown."""
        if text.endswith(b"\n"):
            if stream not in self._parts:
                return [LogEntry(stream, text)]
            self._sizes.pop(stream, None)
            return [LogEntry(stream, b"".join([*self._parts.pop(stream), text]))]
        parts = self._parts.setdefault(stream, [])
        parts.append(text)
        self._sizes[stream] = self._sizes.get(stream, 0) + len(text)
        if self._sizes[stream] <= _LIMIT:
            return []
        held = b"".join(parts)
        parts.clear()  # the stream stays: what follows goes on with this line
        return [LogEntry(stream, held)] if held else []

    def finish(self) -> list[LogEntry]:
        """Return what is held back: the log has ended."""
        held = [LogEntry(stream, b"".join(parts)) for stream, parts in sorted(self._parts.items()) if parts]
        self._parts.clear()
        return held
