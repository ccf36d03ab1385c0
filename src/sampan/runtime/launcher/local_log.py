"""The driver `local`: compressed, indexed, cheaper to write than json-file. Lean.

```
 append ─► frames ─► container.log.live ─ 256 KiB ─► block ─► container.log ─ max_size ─► .1, .2, …
```

A crash between a block's writing and the live file's replacement leaves a live file that bears the number of
the last block: `_open` begins a new one, and readers know it for stale.
"""

from __future__ import annotations

import os
import time

from sampan.runtime.launcher.local_format import (
    BLOCK_BYTES,
    Damaged,
    pack_block,
    pack_frame,
    pack_head,
    read_blocks,
    read_head,
    whole_frames,
)
from sampan.runtime.launcher.log_rotation import RotatingFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.runtime.launcher.messages import LogSettings

_FILE_MODE = 0o640
_REST = 2.0  # times the cost of a compression until the next
_LIVE = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_STREAMS = {"stdout": 1, "stderr": 2}


class LocalLog:
    """A sink (log_writer.py). Nothing here raises OSError: what cannot be written is counted."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._live_path = f"{settings.path}.live"
        self._seal_at = min(BLOCK_BYTES, settings.max_size or BLOCK_BYTES)
        self._next_seal = self._seal_at
        self._main: _BlockFile | None = None  # opened with the first block: a short run has none
        self._fd = -1
        self._head_bytes = 0
        self._size = 0  # of the live file
        self._number = 1
        self._compress_from = 0.0  # of the monotonic clock
        self.dropped_bytes = 0
        self._open()

    def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
        """Write pieces of stream ("stdout" or "stderr") that came at one time."""
        kind = _STREAMS[stream]
        frames = b"".join([pack_frame(piece, kind, at_ns) for piece in pieces])
        if not frames:
            return
        try:
            if self._fd < 0:
                self._open()
            written = os.write(self._fd, frames)
        except OSError:
            written = 0
        if written < len(frames):  # the disk is full: keep whole frames
            whole = whole_frames(frames[:written])
            self.dropped_bytes += len(frames) - whole
            _cut(self._fd, self._size + whole)
            written = whole
        self._size += written
        if self._size - self._head_bytes >= self._next_seal:
            self._seal()

    def clear(self) -> None:
        """Forget what was logged; a reader that has files open can still read them to their end."""
        _unlink(self._live_path)
        if self._main is not None or os.path.exists(self._settings.path):
            self._get_main().clear()
        self._begin(self._number + 1)

    def close(self) -> None:
        """Close the files; the live one goes on with the next run."""
        if self._main is not None:
            self._main.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        """Go on with the live file of an earlier run, its torn end cut off, or begin one."""
        last = self._last_number() if os.path.exists(self._settings.path) else 0
        try:
            fd = os.open(self._live_path, _LIVE & ~os.O_CREAT, _FILE_MODE)
        except OSError:
            self._begin(last + 1)
            return
        try:
            head = read_head(fd)
            if head.number <= last:
                raise Damaged("its frames are a block already")
            size = os.fstat(fd).st_size
            whole = head.length + whole_frames(os.pread(fd, size - head.length, head.length))
        except (Damaged, OSError):
            os.close(fd)
            self._begin(last + 1)
            return
        if whole < size:
            _cut(fd, whole)
        self._fd, self._number, self._head_bytes, self._size = fd, head.number, head.length, whole
        if head.attrs != self._settings.attrs:
            self._change_attrs(head.attrs)

    def _change_attrs(self, earlier: str) -> None:
        """Begin new files, the container was renamed, say: attributes are those of a whole file."""
        main = self._main = _BlockFile(self._settings, earlier)
        if self._size > self._head_bytes:
            self._seal()
        else:
            self._begin(self._number)
        main.header = pack_head(0, self._settings.attrs)
        main.rotate()

    def _last_number(self) -> int:
        """Return the number of the newest block, and cut off what a crash left of one behind it."""
        for path in (self._settings.path, f"{self._settings.path}.1"):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                head = read_head(fd)
                number, end = 0, head.length
                for block in read_blocks(fd, head.length):
                    number, end = block.number, block.end
                if end < os.fstat(fd).st_size:
                    _cut(fd, end)
                if number:
                    return number
            except Damaged:
                continue
            finally:
                os.close(fd)
        return 0

    def _begin(self, number: int) -> bool:
        """Put a new live file in the place of the present one; False if there is no room for one."""
        head = pack_head(number, self._settings.attrs)
        unfinished = f"{self._live_path}.new"
        try:
            os.makedirs(os.path.dirname(unfinished), 0o700, exist_ok=True)
            fd = os.open(unfinished, _LIVE | os.O_TRUNC, _FILE_MODE)
        except OSError:
            return False
        try:
            if os.write(fd, head) < len(head):
                raise OSError("no room for the head")
            os.rename(unfinished, self._live_path)
        except OSError:
            os.close(fd)
            _unlink(unfinished)
            return False
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._number, self._head_bytes, self._size = fd, number, len(head), len(head)
        self._next_seal = self._seal_at
        return True

    def _seal(self) -> None:
        """Make a block of the live file's frames; on a full disk it goes on, and this is tried later."""
        main = self._get_main()
        frames = os.pread(self._fd, self._size - self._head_bytes, self._head_bytes)
        block = self._pack(frames)
        limit = self._settings.max_size
        if limit and main.size + len(block) > limit and main.size > self._head_bytes:
            main.rotate()
        if main.append(block):
            if self._begin(self._number + 1):
                return
            main.cut_off(len(block))
        self._next_seal = self._size - self._head_bytes + self._seal_at

    def _pack(self, frames: bytes) -> bytes:
        """Return the block; compressed, unless that would be most of what this shim does just now.

        A container that writes without pause has each third block compressed or so: its log costs no more
        than json-file would. One that writes less than some 30 MiB/s has all of them.
        """
        begin = time.monotonic()
        if not self._settings.compress or begin < self._compress_from:
            return pack_block(frames, self._number, compress=False)
        block = pack_block(frames, self._number, compress=True)
        end = time.monotonic()
        self._compress_from = end + _REST * (end - begin)
        return block

    def _get_main(self) -> _BlockFile:
        if self._main is None:
            self._main = _BlockFile(self._settings, self._settings.attrs)
        return self._main


class _BlockFile(RotatingFile):
    """The main file: blocks, whole or not at all."""

    def __init__(self, settings: LogSettings, attrs: str) -> None:
        self.setup(settings, header=pack_head(0, attrs))

    def append(self, block: bytes) -> bool:
        """Write a block; False if there is no room for it."""
        try:
            if self.fd < 0:
                self.open(0)
            written = os.write(self.fd, block)
        except OSError:
            return False
        self.size += written
        if written < len(block):
            self.cut_off(written)
        return written == len(block)


def _cut(fd: int, size: int) -> None:
    try:
        os.ftruncate(fd, size)
    except OSError:
        pass  # what is torn stays; readers and the next start skip it


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
