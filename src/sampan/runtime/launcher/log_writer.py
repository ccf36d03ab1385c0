"""What a container writes, on its way into its log: cut into records, timed, handed to the sinks. Lean.

A sink is one destination (log_file.py, local_log.py, syslog_log.py, journal_log.py), or a queue in front of
one (log_queue.py). docs/logs.md has the whole picture.
"""

from __future__ import annotations

import time

from sampan.runtime.launcher.json_lines import LineSplitter
from sampan.runtime.launcher.log_file import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from sampan.runtime.launcher.log_queue import LogQueue, Remote
    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import LogSettings

    class Sink(Protocol):
        """One destination of records. It raises no OSError: what cannot be written is counted."""

        @property
        def dropped_bytes(self) -> int:
            """How much could not be written."""

        def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
            """Take pieces that came at one time."""

        def clear(self) -> None:
            """Forget what was logged."""

        def close(self) -> None:
            """Write what is left and end."""


class LogWriter:
    """The log of one run. on_trouble hears of the first record that was dropped."""

    def __init__(self, sinks: Sequence[Sink], queues: Sequence[LogQueue] = ()) -> None:
        """Write to sinks, in this order; queues are those of them that may make one wait."""
        self._sinks = sinks
        self._only = sinks[0] if len(sinks) == 1 else None
        self._queues = queues
        self.slow = self if queues else None  # whom the container may have to wait for
        self._splitters: dict[str, LineSplitter] = {}
        self._loop: Loop | None = None
        self._told = False
        self._floor_ns = 0  # every record from now on is later
        self._last_ns = 0
        self.on_trouble: Callable[[int], None] = _ignore

    @property
    def full(self) -> bool:
        """Whether the container has to wait for its log."""
        return any(queue.full for queue in self._queues)

    @property
    def dropped_bytes(self) -> int:
        """How much could not be logged, over all sinks."""
        if self._only is not None:
            return self._only.dropped_bytes
        return sum(sink.dropped_bytes for sink in self._sinks)

    def watch(self, loop: Loop, on_room: Callable[[], None]) -> None:
        """Call back in the loop when the log is no longer full."""
        self._loop = loop
        for queue in self._queues:
            queue.watch(loop, on_room)

    def write(self, stream: str, data: bytes) -> None:
        """Log what was read from stream ("stdout" or "stderr"); an unfinished line waits for its end."""
        splitter = self._splitters.get(stream)
        if splitter is None:
            splitter = self._splitters[stream] = LineSplitter()
        self._append(stream, splitter.feed(data))

    def mark(self) -> int:
        """Draw a line: return a time that all records up to now are not after, and all from now on are."""
        self._floor_ns = max(time.time_ns(), self._last_ns)
        return self._floor_ns

    def unfinished(self) -> list[tuple[str, bytes]]:
        """Return (stream, bytes) that were read and will be logged when their line ends."""
        return [(stream, splitter.rest) for stream, splitter in self._splitters.items()]

    def queued(self) -> list[tuple[LogQueue, int]]:
        """Return the queues, each with the position up to which it is filled (`LogQueue.has_written`)."""
        return [(queue, queue.put_bytes) for queue in self._queues]

    def unmark(self) -> None:
        """Let times follow a clock that is set back again."""
        self._floor_ns = 0

    def finish(self, stream: str) -> None:
        """Log an unfinished last line: stream has ended."""
        splitter = self._splitters.pop(stream, None)
        rest = splitter.finish() if splitter is not None else b""
        if rest:
            self._append(stream, (rest,))

    def clear(self) -> None:
        """Forget what was logged so far."""
        for sink in self._sinks:
            sink.clear()

    def close(self) -> None:
        """Log what is unfinished and end."""
        for stream in list(self._splitters):
            self.finish(stream)
        for queue in self._queues:
            queue.ignore(self._loop)
        for sink in self._sinks:
            sink.close()

    def _append(self, stream: str, pieces: Iterable[bytes]) -> None:
        at_ns = self._last_ns = max(time.time_ns(), self._floor_ns + 1)
        only = self._only
        if only is not None:
            only.append(stream, at_ns, pieces)
            if not only.dropped_bytes:  # most have one sink and no trouble: no further call
                return
        else:
            taken = list(pieces)
            for sink in self._sinks:
                sink.append(stream, at_ns, taken)
        if not self._told and self.dropped_bytes:
            self._told = True
            self.on_trouble(self.dropped_bytes)


def _ignore(_dropped_bytes: int) -> None:
    """Nobody wants to know."""


def open_log(settings: LogSettings) -> LogWriter:
    """Open the log of a container for one run.

    Only json-file is loaded in the launcher: what other drivers need is loaded in the shims that have them,
    for each module in the launcher costs every shim some memory (70 KiB for all of these, measured).
    """
    if settings.driver == "json-file" and settings.blocking:
        return LogWriter([LogFile(settings)])
    sinks: list[Sink] = []
    queues: list[LogQueue] = []
    for wanted in (settings, settings.cache):
        if wanted is not None:
            _add_sink(wanted, sinks, queues)
    return LogWriter(sinks, queues)


def _add_sink(settings: LogSettings, sinks: list[Sink], queues: list[LogQueue]) -> None:
    from sampan.runtime.launcher.log_queue import LogQueue

    if settings.driver in ("journald", "syslog"):
        queue = LogQueue(_open_remote(settings), settings.buffer_bytes, blocking=settings.blocking)
    elif settings.blocking:
        sinks.append(_open_file(settings))
        return
    else:
        queue = LogQueue(_open_file(settings), settings.buffer_bytes, blocking=False)
    queues.append(queue)
    sinks.append(queue)


def _open_file(settings: LogSettings) -> Sink:
    if settings.driver != "local":
        return LogFile(settings)
    from sampan.runtime.launcher.local_log import LocalLog

    return LocalLog(settings)


def _open_remote(settings: LogSettings) -> Remote:
    target = settings.target or {}
    if settings.driver == "journald":
        from sampan.runtime.launcher.journal_log import JournalLog

        return JournalLog(target)
    from sampan.runtime.launcher.syslog_log import SyslogLog

    return SyslogLog(target)
