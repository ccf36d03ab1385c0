"""Resolving paths below a directory that nobody may leave: openat2(2), and the same walk by hand.

The walk keeps a stack of descriptors, one for each directory between the root and where it stands. Every
name is opened with O_NOFOLLOW relative to the top; a symlink is read and its names are put before the rest;
".." pops the stack. So whatever is renamed or swapped meanwhile, each step starts from a directory that was
reached from the root, and ".." never asks the kernel, who would answer with the directory's *present* parent.
"""

from __future__ import annotations

import errno
import os
import struct
from _stat import S_ISDIR, S_ISLNK

from sampan.kernel.constants import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from sampan.kernel.mountattrs import mount_id
from sampan.kernel.syscall import POINTER, WORD, Call, encode, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.kernel.syscall import StrPath

_openat2 = Call("openat2", WORD, POINTER, POINTER, WORD)
_OPEN_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
_MAX_LINKS = 40  # include/linux/namei.h: MAXSYMLINKS
_TRIES = 100  # EAGAIN: something was renamed while ".." was checked; openat2(2) says to try again
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def openat2(dirfd: int, path: StrPath, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open a file as openat2(2) does (Linux 5.6), close-on-exec; resolve are `RESOLVE_*`.

    Without the call the walk above does it, for all of RESOLVE_* but RESOLVE_CACHED; magic links then are
    followed as the text they show, inside the root, where the kernel would refuse.

    Raises:
        OSError: errno is set, filename is path. EXDEV, the path leaves dirfd (RESOLVE_BENEATH) or its mount
            (RESOLVE_NO_XDEV); ELOOP, a link where none is allowed.
    """
    flags |= os.O_CLOEXEC
    how = _OPEN_HOW.pack(flags, mode if flags & (os.O_CREAT | os.O_TMPFILE) else 0, resolve)
    for _ in range(_TRIES):
        try:
            return _openat2(dirfd, encode(path), how, len(how), path=path)
        except OSError as exc:
            if exc.errno == errno.ENOSYS:
                return _open_by_walk(dirfd, path, flags, mode, resolve)
            if exc.errno != errno.EAGAIN or resolve & RESOLVE_CACHED:
                raise
    raise fail(errno.EAGAIN, "openat2: the path keeps changing", path)


def open_in_root(root_fd: int, unsafe_path: StrPath, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open a path as a process whose root directory is root_fd would; nothing outside can be reached.

    Absolute links and ".." end at root_fd; magic links (/proc/<pid>/fd/…) are refused. flags without
    O_NOFOLLOW follow a link in the last place too. What a container may have put there is opened with O_PATH,
    its type is checked, and `files.reopen` opens it to read or write: a FIFO blocks, a device acts.

    Raises:
        OSError: errno is set, filename is the path.
    """
    return openat2(
        root_fd, unsafe_path, flags, mode=mode, resolve=resolve | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    )


def mkdir_in_root(root_fd: int, unsafe_path: StrPath, mode: int = 0o755) -> int:
    """Make a directory and those above it, where missing, inside the root; return an O_PATH descriptor of it.

    Links are followed inside the root, and what a dangling one names is made there. The umask applies.

    Raises:
        OSError: ENOTDIR, something on the way is no directory.
    """
    try:
        return open_in_root(root_fd, unsafe_path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        # A slash at the end makes the last name one of "those above", and "." the last.
        walk = _Walk(root_fd, os.fsdecode(unsafe_path) + "/", RESOLVE_IN_ROOT, make_mode=mode)
        return walk.run(lambda name, top: os.open(name, _STEP | os.O_DIRECTORY, dir_fd=top))


def touch_in_root(root_fd: int, unsafe_path: StrPath, mode: int = 0o644) -> int:
    """Make an empty file, and the directories above it, where missing; return an O_PATH descriptor of it.

    What is there already stays as it is, whatever its kind; links are followed in the root; umask applies.

    Raises:
        OSError: EISDIR, it is a directory; ENOTDIR, something above it is not.
    """

    def open_or_make(name: str, top: int) -> int:
        try:
            return os.open(name, _STEP, dir_fd=top)
        except FileNotFoundError:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=top))
            return os.open(name, _STEP, dir_fd=top)

    fd = _Walk(root_fd, unsafe_path, RESOLVE_IN_ROOT, make_mode=0o755).run(open_or_make)
    if S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise fail(errno.EISDIR, "make file", unsafe_path)
    return fd


def _open_by_walk(dirfd: int, path: StrPath, flags: int, mode: int, resolve: int) -> int:
    if resolve & RESOLVE_CACHED:
        raise fail(
            errno.EAGAIN, "openat2", path
        )  # what the kernel answers when it cannot tell without waiting

    def finish(name: str, top: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=top)

    follow_last = not flags & os.O_NOFOLLOW and flags & (os.O_CREAT | os.O_EXCL) != os.O_CREAT | os.O_EXCL
    return _Walk(dirfd, path, resolve).run(finish, follow_last=follow_last)


class _Walk:
    """One resolution; `run` may be called once."""

    def __init__(self, dirfd: int, path: StrPath, resolve: int, *, make_mode: int = -1) -> None:
        encode(path)  # refuses a NUL byte
        self._path = path
        text = os.fsdecode(path)
        if not text:
            raise fail(errno.ENOENT, "openat2", path)
        self._resolve = resolve
        self._confined = resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH)
        self._make_mode = make_mode  # -1: a missing directory is an error
        self._links = 0
        self._pending: list[str] = []  # names still to go, the next one last
        self._stack: list[int] = []  # descriptors from the root to where we stand
        start = "/" if text.startswith("/") and not self._confined else "."
        self._stack.append(
            os.open(start, _STEP | os.O_DIRECTORY, dir_fd=None if dirfd == AT_FDCWD else dirfd)
        )
        self._mount = mount_id(self._stack[0]) if resolve & RESOLVE_NO_XDEV else -1
        if text.startswith("/") and resolve & RESOLVE_BENEATH:
            self._close()
            raise self._error(errno.EXDEV)
        self._pending = text.split("/")[::-1]

    def run(self, finish: Callable[[str, int], int], *, follow_last: bool = True) -> int:
        """Walk to the last name and open it by finish(name, directory fd), which must not follow links."""
        try:
            while True:
                name = self._walk_to_last()
                link = self._read_link(name) if follow_last else None
                if link is not None:
                    self._follow(link)
                    continue
                fd = finish(name, self._stack[-1])
                if not follow_last or not S_ISLNK(os.fstat(fd).st_mode):
                    self._check_mount(fd)
                    return fd
                os.close(fd)  # became a link between the two looks
                self._pending.append(name)
                self._count_link()
        except OSError as exc:
            raise self._error(exc.errno) from exc
        finally:
            self._close()

    def _walk_to_last(self) -> str:
        """Enter all but the last name, and return that; "." where the path ends in a directory."""
        while self._pending:
            name = self._pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._leave()
            elif not self._pending:
                return name
            else:
                self._enter(name)
        return "."

    def _leave(self) -> None:
        if not self._confined:
            self._push(os.open("..", _STEP, dir_fd=self._stack[-1]))
        elif len(self._stack) > 1:
            os.close(self._stack.pop())
        elif self._resolve & RESOLVE_BENEATH:
            raise self._error(errno.EXDEV)

    def _enter(self, name: str) -> None:
        top = self._stack[-1]
        try:
            fd = os.open(name, _STEP, dir_fd=top)
        except FileNotFoundError:
            if self._make_mode < 0:
                raise
            try:
                os.mkdir(name, self._make_mode, dir_fd=top)
            except FileExistsError:
                pass  # somebody else made it just now
            fd = os.open(name, _STEP, dir_fd=top)
        kind = os.fstat(fd).st_mode
        if S_ISDIR(kind):
            self._push(fd)
            return
        try:
            if not S_ISLNK(kind):
                raise self._error(errno.ENOTDIR)
            link = os.readlink("", dir_fd=fd)  # of the very link that was opened
        finally:
            os.close(fd)
        self._follow(link)

    def _push(self, fd: int) -> None:
        self._stack.append(fd)  # first: from here on _close has it
        self._check_mount(fd)

    def _read_link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self._stack[-1])
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.ENOENT):  # no link; not there
                raise
            return None

    def _follow(self, link: str) -> None:
        self._count_link()
        if link.startswith("/"):
            if self._resolve & RESOLVE_BENEATH or (self._mount >= 0 and not self._confined):
                raise self._error(
                    errno.EXDEV
                )  # with RESOLVE_NO_XDEV the kernel follows no absolute link at all
            self._back_to_root()
        self._pending += link.split("/")[::-1]

    def _count_link(self) -> None:
        self._links += 1
        if self._resolve & RESOLVE_NO_SYMLINKS or self._links > _MAX_LINKS:
            raise self._error(errno.ELOOP)

    def _back_to_root(self) -> None:
        if not self._confined:
            self._push(os.open("/", _STEP))
        while self._confined and len(self._stack) > 1:
            os.close(self._stack.pop())

    def _check_mount(self, fd: int) -> None:
        if self._mount >= 0 and mount_id(fd) != self._mount:
            if fd not in self._stack:
                os.close(fd)
            raise self._error(errno.EXDEV)

    def _close(self) -> None:
        while self._stack:
            os.close(self._stack.pop())

    def _error(self, number: int | None) -> OSError:
        return fail(number or errno.EIO, "openat2", self._path)
