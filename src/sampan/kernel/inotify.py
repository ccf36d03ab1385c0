"""Watching files and directories. Source: inotify(7)."""

from __future__ import annotations

import os
import struct

from sampan.kernel.syscall import POINTER, WORD, Call, encode
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.kernel.syscall import StrPath

_init1 = Call("inotify_init1", WORD)
_add_watch = Call("inotify_add_watch", WORD, POINTER, WORD)
_rm_watch = Call("inotify_rm_watch", WORD, WORD)
_EVENT = struct.Struct("=iIII")  # struct inotify_event: wd, mask, cookie, len; a name of len bytes follows


@record
class InotifyEvent:
    """What happened: mask holds `IN_*`; name is the entry of a watched directory, or empty."""

    watch: int  # -1 with IN_Q_OVERFLOW: events were lost, look at everything again
    mask: int
    cookie: int  # joins the two halves of a rename
    name: str


class Inotify:
    """One inotify descriptor (non-blocking, close-on-exec); poll `fd`, then `read`."""

    def __init__(self) -> None:
        self.fd = _init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: StrPath, mask: int) -> int:
        """Watch path for the events in mask; return the watch's number (the same for the same inode).

        Raises:
            OSError: ENOSPC, the limit fs.inotify.max_user_watches is reached.
        """
        return _add_watch(self.fd, encode(path), mask, path=path)

    def remove(self, watch: int) -> None:
        """Stop a watch."""
        _rm_watch(self.fd, watch)

    def read(self) -> list[InotifyEvent]:
        """Return the events that wait, maybe none."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        events = []
        offset = 0
        while offset < len(data):
            watch, mask, cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            events.append(InotifyEvent(watch=watch, mask=mask, cookie=cookie, name=name))
            offset += length
        return events

    def close(self) -> None:
        """Close the descriptor; every watch ends."""
        os.close(self.fd)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
