"""Walks a tree that others may change meanwhile, by descriptors: nothing is followed, nothing is left.

Each name is opened with O_PATH and O_NOFOLLOW below its directory's descriptor, then looked at; what is not a
directory or regular file is never opened in another way (a FIFO blocks, a device acts). A directory that
vanishes or is swapped changes what is seen, never where we are.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sampan.errors import Conflict

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_LEVELS = 64  # descriptors held at once; a level further up is found again by ".."
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(slots=True)
class Found:
    """One file, directory or other thing. fd is O_PATH, a directory's can be listed; valid until the next.

    path: of the tree, with the name its top was given. leaving: a directory's second time, after its content.
    """

    fd: int
    path: bytes
    name: bytes
    status: os.stat_result
    leaving: bool = False


Enters = Callable[[Found], bool]


@dataclass(slots=True)
class _Level:
    fd: int  # -1: given back
    found: Found
    names: list[str]  # still to go, the next one last

    @property
    def identity(self) -> tuple[int, int]:
        return self.found.status.st_dev, self.found.status.st_ino


def walk(fd: int, *, shown: bytes, enters: Enters | None = None) -> Iterator[Found]:
    """Yield what fd (O_PATH) is and all below it, names in order, a directory before its content.

    What vanishes meanwhile is left out. shown: the path of fd itself, which the others begin with. enters
    decides about each directory that is the root of another file system, as a mount is: one that is not
    entered comes once.

    Raises:
        OSError: a directory cannot be read.
        Conflict: a directory deep inside was moved while it was walked.
    """
    levels: list[_Level] = []
    try:
        found = Found(fd, shown, shown.rpartition(b"/")[2], os.fstat(fd))
        yield found
        if stat.S_ISDIR(found.status.st_mode):
            levels.append(_open_level(fd, found))
        while levels:
            yield from _step(levels, enters)
    finally:
        for level in levels:
            if level.fd >= 0:
                os.close(level.fd)


def _step(levels: list[_Level], enters: Enters | None) -> Iterator[Found]:
    """Go through the innermost directory until one in it is entered, or until its end."""
    level = levels[-1]
    prefix = level.found.path
    if prefix and not prefix.endswith(b"/"):
        prefix += b"/"
    fsencode, names, directory = os.fsencode, level.names, level.fd
    while names:
        name = fsencode(names.pop())
        try:
            fd = os.open(name, _LOOK, dir_fd=directory)
        except FileNotFoundError:
            continue
        try:
            found = Found(fd, prefix + name, name, os.fstat(fd))
            yield found
            if stat.S_ISDIR(found.status.st_mode):
                is_mount = found.status.st_dev != level.found.status.st_dev
                if is_mount and enters is not None and not enters(found):
                    continue
                try:
                    levels.append(_open_level(fd, found))
                except FileNotFoundError:
                    continue  # removed since we looked
                if len(levels) > _OPEN_LEVELS:
                    _give_back(levels[-1 - _OPEN_LEVELS])
                return
        finally:
            os.close(fd)
    _reopen_parent(levels)
    level.found.fd, level.found.leaving = level.fd, True
    yield level.found
    levels.pop()
    os.close(level.fd)


def _open_level(fd: int, found: Found) -> _Level:
    listed = os.open(".", _LIST, dir_fd=fd)
    try:
        names = sorted(os.listdir(listed), key=os.fsencode, reverse=True)
    except BaseException:
        os.close(listed)
        raise
    return _Level(listed, found, names)


def _give_back(level: _Level) -> None:
    os.close(level.fd)
    level.fd = -1


def _reopen_parent(levels: list[_Level]) -> None:
    """Open the level above again if its descriptor was given back: the present parent, if it is the same."""
    if len(levels) < 2 or levels[-2].fd >= 0:
        return
    above = levels[-2]
    fd = os.open("..", _LIST, dir_fd=levels[-1].fd)
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) != above.identity:
        os.close(fd)
        path = os.fsdecode(levels[-1].found.path)
        raise Conflict(f"directory {path!r} was moved while it was read")
    above.fd = fd
