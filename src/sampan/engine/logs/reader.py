"""Read a container's log: the records that were asked for, with their prefixes, and on as they come."""

from __future__ import annotations

import os
import select
import time
from dataclasses import replace
from types import TracebackType
from typing import Final
from urllib.parse import quote_plus

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.logs.joining import LineJoiner
from sampan.engine.logs.json_files import JsonFiles
from sampan.engine.logs.local_files import LocalFiles
from sampan.engine.logs.records import LogRecord, LogSource
from sampan.engine.logs.settings import log_path
from sampan.engine.paths import Paths
from sampan.engine.records import Record
from sampan.engine.types import LogEntry, LogRequest
from sampan.errors import Conflict, InvalidArgument, Unsupported
from sampan.kernel.constants import IN_CREATE, IN_MODIFY, IN_MOVED_TO
from sampan.kernel.inotify import Inotify

_NOT_READABLE: Final = "configured logging driver does not support reading"


class LogReader:
    """An open log. `read_available` never blocks; `fileno` becomes readable when it may give more.

    finished: nothing will ever come again (not following, the container has ended and all was read, or the
    time of `until` has come). One thread reads; `container_ended` may come from another.
    """

    def __init__(
        self, source: LogSource, request: LogRequest, *, container: Container | None, folder: str = ""
    ) -> None:
        """Open a log. container: the running one to follow, with the log's folder; None: what is there."""
        self._request = request
        self._source = source
        self._joiner = LineJoiner() if request.whole_lines else None
        self._container = container
        self._ended = container is None
        self._watch: Inotify | None = None
        self._poll: select.epoll | None = None
        self._end_fd = -1
        self._left: list[LogRecord] = []  # read, and later than `until`
        self.finished = False
        if container is not None:
            self._follow(folder, container)
        if request.tail is None:
            source.seek_start(since_ns=request.since_ns)
        else:
            source.seek_tail(request.tail, whole_lines=request.whole_lines)

    def _follow(self, folder: str, container: Container) -> None:
        """Watch the log's folder, for writes and rotation, and the container's end, by one descriptor."""
        self._end_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watch = Inotify()
        self._watch.add(folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
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

    @property
    def remaining_s(self) -> float | None:
        """How long a follower may still wait: until `until`, or without end."""
        if not self._request.until_ns:
            return None
        return max(0.0, (self._request.until_ns - time.time_ns()) / 1e9)

    def read_available(self, max_entries: int = 1000) -> list[LogEntry]:
        """Return the next lines that are there; an empty list when none is.

        More than max_entries may come: what one read of the file holds is not cut.
        """
        entries: list[LogEntry] = []
        while len(entries) < max_entries and not self.finished:
            ended = self._ended or self.remaining_s == 0.0
            # asked before reading: what was written before the end is then seen
            if self._watch is not None:
                self._watch.read()
            records = self._left or self._source.read()
            self._left = []
            if records is None:
                self.finished = ended
                break
            entries += self._entries(records)
        if self.finished and self._joiner is not None:
            entries += self._joiner.finish()
        return entries

    def go_on(self, *, until_ns: int) -> None:
        """Read on from where it finished, up to another time (0: no bound)."""
        self._request = replace(self._request, until_ns=until_ns)
        self.finished = False

    def _entries(self, records: list[LogRecord]) -> list[LogEntry]:
        entries: list[LogEntry] = []
        for position, record in enumerate(records):
            wanted = self._is_wanted(record)
            if self.finished:
                self._left = records[position:]
                break
            if not wanted:
                continue
            if self._joiner is None:
                entries.append(LogEntry(record.stream, self._prefix(record) + record.text))
            elif self._joiner.is_continuing(record.stream):
                entries += self._joiner.add(record.stream, record.text)
            else:
                entries += self._joiner.add(record.stream, self._prefix(record) + record.text)
        return entries

    def _is_wanted(self, record: LogRecord) -> bool:
        request = self._request
        if not (request.stdout if record.stream == 1 else request.stderr):
            return False
        if request.since_ns or request.until_ns:
            time_ns = record.time_ns
            if request.until_ns and time_ns > request.until_ns:
                self.finished = True
                return False
            return time_ns >= request.since_ns
        return True

    def _prefix(self, record: LogRecord) -> bytes:
        if not (self._request.timestamps or self._request.details):
            return b""
        prefix = f"{record.stamp} " if self._request.timestamps else ""
        if self._request.details:
            pairs = sorted((record.attrs or {}).items())
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
        self._source.close()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(paths: Paths, record: Record) -> LogSource | None:
    """Return the files of a container's log; None where its driver keeps none."""
    path = log_path(paths, record)
    if not path:
        return None
    return JsonFiles(path) if record.host.LogConfig.Type in ("", "json-file") else LocalFiles(path)


def open_log(core: Core, container: Container, request: LogRequest) -> LogReader:
    """See `Containers.logs`."""
    if not (request.stdout or request.stderr):
        raise InvalidArgument("must specify at least one of 'stdout' or 'stderr'")
    if container.removed:
        raise Conflict("can not get logs from container which is dead or marked for removal")
    source = open_source(core.paths, container.record)
    if source is None:
        raise Unsupported(_NOT_READABLE)
    follow = request.follow and container.running
    folder = os.path.dirname(log_path(core.paths, container.record))
    try:
        return LogReader(source, request, container=container if follow else None, folder=folder)
    except BaseException:
        source.close()
        raise
