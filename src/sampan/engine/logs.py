"""Read a container's json-file log: rotated files, the last lines, follow."""

from __future__ import annotations

import os
import select
from types import TracebackType
from typing import Final
from urllib.parse import quote_plus

import msgspec
from msgspec import Struct

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.log_files import LogFiles
from sampan.engine.times import parse_time_ns
from sampan.engine.types import LogEntry, LogRequest
from sampan.errors import Conflict, InvalidArgument, Unsupported
from sampan.kernel.constants import IN_CREATE, IN_MODIFY, IN_MOVED_TO
from sampan.kernel.inotify import Inotify

_STREAMS: Final = {"stdout": 1, "stderr": 2}


class _Line(Struct, frozen=True):
    log: str = ""
    stream: str = "stdout"
    time: str = ""
    attrs: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Line).decode


class LogReader:
    """An open log. `read_available` never blocks; `fileno` becomes readable when it may give more.

    finished: nothing will ever come again (not following, or the container has ended and all was read).
    One thread reads; `container_ended` may come from another.
    """

    def __init__(self, path: str, request: LogRequest, *, container: Container | None) -> None:
        """Open a log; container is the running one to follow, None to read what is there."""
        self._request = request
        self._files = LogFiles(path)
        self._container = container
        self._ended = container is None
        self._watch: Inotify | None = None
        self._poll: select.epoll | None = None
        self._end_fd = -1
        self.finished = False
        if container is not None:
            self._follow(path, container)
        if request.tail is None:
            self._files.seek_start(newer_than_s=request.since_ns / 1e9)
        else:
            self._files.seek_tail(request.tail)

    def _follow(self, path: str, container: Container) -> None:
        """Watch the log's folder, for writes and rotation, and the container's end, by one descriptor."""
        self._end_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watch = Inotify()
        self._watch.add(os.path.dirname(path), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        self._poll = select.epoll()
        self._poll.register(self._watch.fd, select.EPOLLIN)
        self._poll.register(self._end_fd, select.EPOLLIN)
        with container.lock:
            container.listeners.add(self)
            if not container.running:
                self.container_ended()

    def container_ended(self) -> None:
        """The log is complete: finish when it is read."""
        self._ended = True
        if self._end_fd >= 0:  # the lock of the container is held, so `close` is not at work
            os.eventfd_write(self._end_fd, 1)

    def fileno(self) -> int:
        """Return a descriptor to poll for reading while following; -1 when not following."""
        return -1 if self._poll is None else self._poll.fileno()

    def read_available(self, max_entries: int = 1000) -> list[LogEntry]:
        """Return the next lines that are there; an empty list when none is.

        More than max_entries may come: what one read of the file holds is not cut.
        """
        entries: list[LogEntry] = []
        while len(entries) < max_entries and not self.finished:
            ended = self._ended  # asked before reading: what was written before the end is then seen
            if self._watch is not None:
                self._watch.read()
            records = self._files.read_records()
            if not records:
                self.finished = ended
                break
            entries += self._entries(records)
        return entries

    def _entries(self, records: list[bytes]) -> list[LogEntry]:
        entries = []
        for record in records:
            try:
                line = _decode(record)
            except msgspec.MsgspecError:
                continue  # cut short by a full disk or a crash of the machine
            entry = self._entry(line)
            if entry is not None:
                entries.append(entry)
        return entries

    def _entry(self, line: _Line) -> LogEntry | None:
        """Return what is shown of a line; None if it is not wanted."""
        request = self._request
        stream = _STREAMS.get(line.stream, 1)
        if not (request.stdout if stream == 1 else request.stderr):
            return None
        if request.since_ns or request.until_ns:
            time_ns = parse_time_ns(line.time)
            if time_ns < request.since_ns:
                return None
            if request.until_ns and time_ns > request.until_ns:
                self.finished = True
                return None
        return LogEntry(stream=stream, data=self._prefix(line) + line.log.encode(errors="surrogateescape"))

    def _prefix(self, line: _Line) -> bytes:
        prefix = f"{_fixed_width(line.time)} " if self._request.timestamps else ""
        if self._request.details:
            pairs = sorted((line.attrs or {}).items())
            prefix += ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in pairs) + " "
        return prefix.encode()

    def close(self) -> None:
        """Give the descriptors back."""
        if self._container is not None:
            with self._container.lock:
                self._container.listeners.discard(self)
                end_fd, self._end_fd = self._end_fd, -1
            os.close(end_fd)
            self._container = None
        for watched in (self._watch, self._poll):
            if watched is not None:
                watched.close()
        self._watch = self._poll = None
        self._files.close()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fixed_width(stamp: str) -> str:
    """Return a time with all nine digits of its fraction: `2006-01-02T15:04:05.000000000Z`."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}Z"


def open_log(core: Core, container: Container, request: LogRequest) -> LogReader:
    """See `Containers.logs`."""
    if not (request.stdout or request.stderr):
        raise InvalidArgument("must specify at least one of 'stdout' or 'stderr'")
    if container.record.host.LogConfig.Type == "none":
        raise Unsupported("configured logging driver does not support reading")
    if container.removed:
        raise Conflict("can not get logs from container which is dead or marked for removal")
    follow = request.follow and container.running
    return LogReader(core.paths.log(container.id), request, container=container if follow else None)
