"""Read a container's json-file log: rotated files, the last lines, follow."""

from __future__ import annotations

from types import TracebackType

from sampan.engine.types import LogEntry


class LogReader:
    """An open log. `read_available` never blocks; `fileno` becomes readable when it may give more.

    finished: nothing will ever come again (not following, or the container has ended and all was read).
    """

    finished: bool

    def fileno(self) -> int:
        """Return a descriptor to poll for reading while following (inotify and the container's end)."""
        raise NotImplementedError

    def read_available(self, max_entries: int = 1000) -> list[LogEntry]:
        """Return the next lines that are there; an empty list when none is."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the descriptors back."""
        raise NotImplementedError

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
