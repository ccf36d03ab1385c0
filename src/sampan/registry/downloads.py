"""Blobs on their way: one thread writes a file in `partial/`, any number of readers follow it.

A download belongs to the pulls that joined it; it ends with the last of them. What a killed process has left
is gone on with (`Range`); nothing is believed before its digest has been compared (by who unpacks it, or by
`check`).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sampan.errors import InvalidArgument, SampanError, Unavailable
from sampan.ids import Digest
from sampan.kernel.files import write_all
from sampan.registry.options import Limits
from sampan.registry.sources import Sources
from sampan.registry.transport import Answer

_PROGRESS: Final = 1 << 20  # bytes that let the count of failed tries begin anew
_TRIES: Final = 2  # of one request: once more after `Retry-After`; the tries with progress are counted here
_READ: Final = 1 << 20
_LOOK_S: Final = 0.5  # a reader looks this often whether its pull was cancelled


class Cancelled(SampanError):
    """Nobody waits for this any more."""


class Download:
    """One blob that arrives; thread-safe. `run` is called once, by the pull that made it."""

    def __init__(
        self, sources: Sources, digest: Digest, *, size_bytes: int, path: str, kept_path: str
    ) -> None:
        self.digest = digest
        self.size_bytes = size_bytes
        self.path = path
        self._kept_path = kept_path  # where the store has it afterwards
        self._sources = sources
        self._limits: Limits = sources.options.limits
        self._changed = threading.Condition()
        self._users = 0
        self._ended = False
        self._error: BaseException | None = None
        self._answer: Answer | None = None  # whose body is being read now
        self.resumed_at = 0
        self.have_bytes = 0

    def join(self) -> None:
        """Count one more pull that wants the blob."""
        with self._changed:
            self._users += 1

    def leave(self) -> bool:
        """Count one less; tell whether it was the last."""
        with self._changed:
            self._users -= 1
            self._changed.notify_all()
            is_last = self._users <= 0
            answer = self._answer if is_last else None
        if answer is not None:
            answer.abort()
        return is_last

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there."""
        return self._ended and self._error is None

    @property
    def is_dead(self) -> bool:
        """Whether it failed: another pull begins anew."""
        return self._error is not None

    def run(self) -> None:
        """Fetch the blob; an error is kept for the readers."""
        try:
            self._fetch()
        except BaseException as exc:
            self._error = exc
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def wait(self, is_cancelled: Callable[[], bool]) -> None:
        """Return when the blob is whole.

        Raises:
            SampanError: it does not come.
        """
        while self._wait_beyond(self.size_bytes, is_cancelled):
            pass

    @contextmanager
    def follow(self, is_cancelled: Callable[[], bool]) -> Iterator[_Follower]:
        """Read the blob while it grows."""
        self._wait_beyond(-1, is_cancelled)  # the file is there once the first byte is
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # whole, and another pull has taken it into the store
            fd = os.open(self._kept_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _Follower(self, fd, is_cancelled)
        finally:
            os.close(fd)

    def _wait_beyond(self, position: int, is_cancelled: Callable[[], bool]) -> int:
        """Return how many bytes there are behind position, once there are some; 0 at the end."""
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                if is_cancelled():
                    raise Cancelled("the pull was cancelled")
                if self._ended or self.have_bytes > max(position, 0):
                    return max(self.have_bytes - max(position, 0), 0)
                self._changed.wait(_LOOK_S)

    def _fetch(self) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._begin(fd)
            failures, mark = 0, self.have_bytes
            while self.have_bytes < self.size_bytes:
                self._check_wanted()
                try:
                    self._fetch_some(fd, failures)
                except Unavailable:
                    if self.have_bytes - mark >= _PROGRESS:
                        failures, mark = 0, self.have_bytes
                    failures += 1
                    if failures >= self._limits.attempts:
                        raise
                    self._pause(self._limits.backoff_s * 2.0 ** (failures - 1))
        finally:
            os.close(fd)

    def _begin(self, fd: int) -> None:
        """Go on behind what an earlier pull has left."""
        have = os.fstat(fd).st_size
        if have > self.size_bytes:
            os.ftruncate(fd, 0)
            have = 0
        self.resumed_at = have
        self._advance(have)

    def _fetch_some(self, fd: int, failures: int) -> None:
        opened = self._sources.open_blob(self.digest, offset=self.have_bytes, tries=_TRIES, failures=failures)
        with opened as answer:
            with self._changed:
                self._answer = answer
            self._check_wanted()
            skip = _check_start(answer, self.have_bytes)
            window_end, window_bytes = time.monotonic() + self._limits.slow_window_s, 0
            while piece := answer.read_some():
                window_bytes += len(piece)
                if time.monotonic() > window_end:
                    if window_bytes < self._limits.slow_bytes:
                        raise Unavailable(f"blob {self.digest} comes too slowly: {window_bytes} bytes")
                    window_end, window_bytes = time.monotonic() + self._limits.slow_window_s, 0
                if skip:
                    piece, skip = piece[skip:], max(skip - len(piece), 0)
                self._write(fd, piece)
        if self.have_bytes < self.size_bytes:
            raise Unavailable(f"blob {self.digest} ends after {self.have_bytes} of {self.size_bytes} bytes")

    def _write(self, fd: int, piece: bytes) -> None:
        if self.have_bytes + len(piece) > self.size_bytes:
            raise InvalidArgument(f"blob {self.digest} is longer than its {self.size_bytes} bytes")
        self._check_wanted()
        os.lseek(fd, self.have_bytes, os.SEEK_SET)
        write_all(fd, piece)
        self._advance(self.have_bytes + len(piece))

    def _advance(self, have: int) -> None:
        with self._changed:
            self.have_bytes = have
            self._changed.notify_all()

    def _check_wanted(self) -> None:
        if self._users <= 0:
            raise Cancelled("nobody waits for this blob any more")

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._users <= 0, min(seconds, self._limits.backoff_most_s))

    def check(self, is_cancelled: Callable[[], bool]) -> None:
        """Compare the whole blob with its digest, for a blob that nobody unpacks.

        Raises:
            InvalidArgument: it is another one.
        """
        actual = hashlib.sha256()
        with self.follow(is_cancelled) as reader:
            while piece := reader.read(_READ):
                actual.update(piece)
        if f"sha256:{actual.hexdigest()}" != self.digest:
            raise InvalidArgument(f"blob {self.digest} is damaged: its content has another digest")


class _Follower:
    """Reads a file that grows. The size was promised by the manifest: no byte more is there."""

    def __init__(self, download: Download, fd: int, is_cancelled: Callable[[], bool]) -> None:
        self._download = download
        self._fd = fd
        self._is_cancelled = is_cancelled
        self._position = 0

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes as soon as there are some, b"" at the end of the blob."""
        there = self._download._wait_beyond(self._position, self._is_cancelled)
        data = os.pread(self._fd, min(size, there), self._position) if there else b""
        self._position += len(data)
        return data


class Downloads:
    """All downloads that run in this process, by digest; thread-safe."""

    def __init__(self) -> None:
        self._running: dict[Digest, Download] = {}
        self._lock = threading.Lock()

    def join(
        self, sources: Sources, digest: Digest, *, size_bytes: int, path: str, kept_path: str
    ) -> tuple[Download, bool]:
        """Return the download of a blob, joined, and whether the caller has to run it."""
        with self._lock:
            known = self._running.get(digest)
            if known is not None and not known.is_dead and known.size_bytes == size_bytes:
                known.join()
                return known, False
            fresh = Download(sources, digest, size_bytes=size_bytes, path=path, kept_path=kept_path)
            fresh.join()
            self._running[digest] = fresh
            return fresh, True

    def leave(self, download: Download) -> None:
        """Undo one `join`."""
        with self._lock:
            if download.leave() and self._running.get(download.digest) is download:
                del self._running[download.digest]


def _check_start(answer: Answer, offset: int) -> int:
    """Return how many bytes to skip: a server may ignore `Range`, or send from elsewhere."""
    if answer.status == 200:
        return offset
    start = answer.header("Content-Range").removeprefix("bytes ").partition("-")[0]
    if not start.isdigit() or int(start) != offset:
        raise Unavailable(f"asked for bytes from {offset}, the registry sends from {start[:20]!r}")
    return 0
