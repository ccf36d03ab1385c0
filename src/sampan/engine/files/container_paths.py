"""Paths in a container as Docker's archive calls read them: absolute; a `/` or `/.` at the end counts.

Every look-up goes through `open_in_root`; texts are only ever names below the root (docs/files.md).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from typing import Final

from msgspec import Struct

from sampan.engine.times import format_time
from sampan.errors import InvalidArgument, NotFound
from sampan.kernel.resolve import open_in_root

_MAX_LINKS: Final = 255  # as Go's filepath.EvalSymlinks
_LOOK = os.O_PATH | os.O_NOFOLLOW
# Go's os.FileMode: not the bits of st_mode. Source: Go, io/fs, FileMode.
_MODE_BITS: Final = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFREG: 0,
}
_SPECIAL_BITS: Final = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class PathStat(Struct, frozen=True, kw_only=True):
    """The header `X-Docker-Container-Path-Stat`. mode is Go's; linkTarget: fully resolved, "" for no link."""

    name: str
    size: int
    mode: int
    mtime: str
    linkTarget: str


def clean_path(unsafe_path: str) -> str:
    """Return an absolute path without `.` and `..` inside, with the end of the one that was asked for."""
    clean = posixpath.normpath("/" + unsafe_path.lstrip("/"))
    if base_name(unsafe_path) == ".":
        clean = posixpath.join(clean, ".")
    if unsafe_path.endswith("/") and not clean.endswith("/"):
        clean += "/"
    return clean


def base_name(path: str) -> str:
    """Return the last name of a path, as Go's filepath.Base: `.` for nothing, `/` for the root."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def open_path(root_fd: int, unsafe_path: str, *, ref: str) -> int:
    """Return an O_PATH descriptor of what is at a clean path; a last link is followed before a slash.

    Raises:
        NotFound: `Could not find the file P in container C`.
        InvalidArgument: something on the way is no directory, or links lead in a circle.
    """
    try:
        return open_in_root(root_fd, unsafe_path, _LOOK)
    except OSError as exc:
        raise path_error(exc, unsafe_path, ref=ref) from exc


def path_error(error: OSError, unsafe_path: str, *, ref: str) -> Exception:
    """Return what a failed look-up means to the client; an unexpected error is returned as it is."""
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"Could not find the file {unsafe_path} in container {ref}")
        case errno.ENOTDIR:
            return InvalidArgument(f"{unsafe_path}: not a directory")
        case errno.ELOOP:
            return InvalidArgument(f"{unsafe_path}: too many links")
        case errno.ENAMETOOLONG:
            return InvalidArgument(f"{unsafe_path[:200]}: file name too long")
    return error


def stat_path(root_fd: int, fd: int, path: str) -> PathStat:
    """Describe an open file of a clean path."""
    status = os.fstat(fd)
    is_link = stat.S_ISLNK(status.st_mode)
    return PathStat(
        name=base_name(path),
        size=status.st_size,
        mode=go_mode(status.st_mode),
        mtime=format_time(status.st_mtime_ns) if status.st_mtime_ns else "1970-01-01T00:00:00Z",
        linkTarget=resolve(root_fd, path) if is_link else "",
    )


def go_mode(mode: int) -> int:
    """Return an st_mode as Go's os.FileMode."""
    result = stat.S_IMODE(mode) & 0o777 | _MODE_BITS[stat.S_IFMT(mode)]
    for bit, go_bit in _SPECIAL_BITS:
        result |= go_bit if mode & bit else 0
    return result


def resolve(root_fd: int, unsafe_path: str) -> str:
    """Return an absolute path with every link followed inside the root; what is missing stays as text.

    Raises:
        InvalidArgument: links lead in a circle.
    """
    done: list[str] = []
    names = _split(unsafe_path)
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            done = done[:-1]
            continue
        target = _read_link(root_fd, "/".join([*done, name]))
        if target is None:
            done.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidArgument(f"{unsafe_path}: too many links")
        if target.startswith("/"):
            done = []
        names += _split(target)
    return "/" + "/".join(done)


def _read_link(root_fd: int, path: str) -> str | None:
    """Return the text of a link, None for anything else; path has no links before its last name."""
    try:
        fd = open_in_root(root_fd, path, _LOOK)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return None
    try:
        return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
    except FileNotFoundError:
        return None  # leads nowhere for us: /proc/self of another pid namespace
    finally:
        os.close(fd)


def _split(path: str) -> list[str]:
    """Return the names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
