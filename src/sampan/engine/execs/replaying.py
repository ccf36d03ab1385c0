"""What a container has said so far, written to a client that attaches with logs=1."""

from __future__ import annotations

import os
import struct
import time
from types import TracebackType
from typing import Final

from sampan.engine.logs.reader import LogReader, open_source
from sampan.engine.paths import Paths
from sampan.engine.records import Record
from sampan.engine.types import LogEntry, LogRequest
from sampan.kernel.sockets import is_all_read
from sampan.runtime.launcher.client import AttachRequest

_FRAME: Final = struct.Struct(">BxxxL")  # stream, three zero bytes, length (API document, "Stream format")
_HEAD_S: Final = 0.1
_HEAD_POLL_S: Final = 0.001


class Replay:
    """Writes a log, from its start and in turns, to request.fd; blocks as the client's reading does."""

    def __init__(self, paths: Paths, record: Record, request: AttachRequest) -> None:
        self._fd = request.fd
        self._framed = request.framed
        self._fetched: list[LogEntry] = []
        source = open_source(paths, record)
        wanted = LogRequest(stdout=request.stdout, stderr=request.stderr)
        self._reader = LogReader(source, wanted, container=None) if source is not None else None
        os.set_blocking(request.fd, True)

    def write_until_now(self) -> None:
        """Write what was logged before this call: a container that never rests does not keep us."""
        self.write(until_ns=time.time_ns())

    def write(self, *, until_ns: int = 0) -> None:
        """Write on, up to a time or to the present end of the log."""
        reader = self._reader
        if reader is None:
            return
        reader.go_on(until_ns=until_ns)
        self._write_fetched()
        while not reader.finished:
            self._fetched = reader.read_available()
            self._write_fetched()

    @property
    def fetched(self) -> bool:
        """Whether something was read that is not written."""
        return bool(self._fetched)

    def fetch(self) -> bool:
        """Read, without writing it, a little of what is new; False: all is written."""
        if self._reader is not None and not self._fetched:
            self._reader.go_on(until_ns=0)
            self._fetched = self._reader.read_available()
        return bool(self._fetched)

    def _write_fetched(self) -> None:
        fetched, self._fetched = self._fetched, []
        for entry in fetched:
            data = entry.data
            if self._framed:
                data = _FRAME.pack(entry.stream, len(data)) + data
            _write_all(self._fd, data)

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()


def await_reader(fd: int) -> None:
    """Let the client read the head of the answer before anything of the stream follows.

    docker-py reads the head through a buffer that it throws away, with what had come behind it by then.
    """
    deadline = time.monotonic() + _HEAD_S
    while not is_all_read(fd) and time.monotonic() < deadline:
        time.sleep(_HEAD_POLL_S)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
