"""A file that is appended to and renamed out of the way: `path`, `path.1` … `path.<max_files - 1>`. Lean.

Nothing here raises OSError: what cannot be done is told by the answer. Compression of `path.1` runs in a
thread of its own; the next rotation, and `close`, wait for it, so that two never work on the same names.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType

    from sampan.runtime.launcher.messages import LogSettings

_FILE_MODE = 0o640
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class RotatingFile:
    """The newest file, open for appending. header begins each new one; size: as far as we know."""

    header: bytes
    fd: int
    size: int

    def setup(self, settings: LogSettings, *, header: bytes = b"", compress: bool = False) -> None:
        """Open the file; compress gzips rotated ones."""
        self._settings = settings
        self.header = header
        self._compressing = _thread.allocate_lock() if compress and settings.max_files > 1 else None
        self.fd = -1
        self.size = 0
        self.open(0)

    def cut_off(self, length: int) -> None:
        """Take the last length bytes back: they are part of a record that did not fit."""
        try:
            end = os.fstat(self.fd).st_size
            os.ftruncate(self.fd, max(0, end - length))
            self.size -= length
        except OSError:
            pass  # a torn record stays; readers skip it

    def rotate(self) -> bool:
        """Start a new file; False if that is not possible, and the present one goes on."""
        if self._compressing is not None:
            self._await_compression(self._compressing)
        path, max_files = self._settings.path, self._settings.max_files
        try:
            for number in range(max_files - 1, 0, -1):
                self._move_up(number)
        except FileNotFoundError:
            pass  # someone removed the log: a new one is started below
        except OSError:
            return False
        self._reopen(os.O_TRUNC if max_files <= 1 else 0)
        if self._compressing is not None:
            self._compress_soon(f"{path}.1", self._compressing)
        return self.fd >= 0

    def clear(self) -> None:
        """Begin anew without what was logged; a reader that has a file open can still read it to its end."""
        if self._compressing is not None:
            self._await_compression(self._compressing)
        for name in log_names(self._settings.path):
            _unlink(name)
        self._reopen(0)

    def close(self) -> None:
        """Close the file, once the one before it is compressed."""
        if self._compressing is not None:
            self._await_compression(self._compressing)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _move_up(self, number: int) -> None:
        path = self._settings.path
        if number == 1:
            os.rename(path, f"{path}.1")
            return
        for suffix in ("", ".gz"):
            older = f"{path}.{number - 1}{suffix}"
            if os.path.lexists(older):
                _unlink(f"{path}.{number}" + ("" if suffix else ".gz"))
                os.rename(older, f"{path}.{number}{suffix}")

    def _reopen(self, how: int) -> None:
        previous, self.fd = self.fd, -1
        try:
            self.open(how)
        finally:
            if previous >= 0:
                os.close(previous)

    def open(self, how: int) -> None:
        """Open the newest file, or leave it closed; how: further flags."""
        try:
            self.fd = os.open(self._settings.path, _APPEND | how, _FILE_MODE)
            self.size = os.fstat(self.fd).st_size
        except OSError:
            self.fd = -1
            self.size = 0
            return
        if self.header and self.size == 0:
            self._write_header()

    def _write_header(self) -> None:
        try:
            self.size = os.write(self.fd, self.header)
        except OSError:
            return
        if self.size < len(self.header):
            self.cut_off(self.size)

    def _compress_soon(self, path: str, lock: LockType) -> None:
        from sampan.runtime.launcher.log_gzip import compress_file

        lock.acquire()

        def run() -> None:
            try:
                compress_file(path)
            finally:
                lock.release()

        try:
            _thread.start_new_thread(run, ())
        except RuntimeError:  # no thread to be had: the file stays as it is, and can be read so
            lock.release()

    def _await_compression(self, lock: LockType) -> None:
        with lock:
            pass


def log_names(path: str) -> list[str]:
    """Return the files of a log, newest first; a compressed one only where its plain one is gone."""
    folder, _, base = path.rpartition("/")
    try:
        found = os.listdir(folder or ".")
    except OSError:
        return []
    names = {}
    for name in found:
        if not name.startswith(base):
            continue
        number = name[len(base) + 1 :].removesuffix(".gz") if len(name) > len(base) else "0"
        if number.isdigit() and not (name.endswith(".gz") and int(number) in names):
            names[int(number)] = f"{folder}/{name}"
    return [names[number] for number in sorted(names)]


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
