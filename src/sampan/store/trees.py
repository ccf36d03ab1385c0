"""Trees that strangers filled: removed and measured by descriptors, never through a mount or a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from itertools import islice

from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from sampan.kernel.files import fchmod_path, openat2
from sampan.kernel.inodeflags import allow_changes

_BATCH = 10_000  # names held at once: a directory may have millions
_OPEN_LEVELS = 32  # descriptors held at once; what lies deeper is moved up first
_STAY = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Change = Callable[[bytes, int], None]


def remove_tree(path: str) -> None:
    """Remove a directory of ours with all it holds; nothing happens if it is not there.

    Raises:
        OSError: EBUSY, a mount point lies inside; what was removed before stays removed.
    """
    folder, name = os.path.split(path)
    try:
        parent_fd = os.open(folder, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        remove_tree_at(parent_fd, os.fsencode(name))
    finally:
        os.close(parent_fd)


def remove_tree_at(parent_fd: int, name: bytes) -> None:
    """Remove the directory name in parent_fd, which may be O_PATH, as `remove_tree`."""
    pending = [name]
    while pending:
        _remove_one(parent_fd, pending.pop(), pending)


def _remove_one(parent_fd: int, name: bytes, pending: list[bytes]) -> None:
    """Empty and remove one tree; directories below the open levels move to parent_fd and join pending."""
    levels: list[tuple[int, bytes, int]] = []  # (descriptor, own name, parent's descriptor)
    try:
        _descend(levels, parent_fd, name)
        while levels:
            fd, own_name, above = levels[-1]
            child = _remove_files(fd)
            if child is None:
                os.close(levels.pop()[0])
                _change(above, own_name, _rmdir)
            elif len(levels) < _OPEN_LEVELS:
                _descend(levels, fd, child)
            else:
                pending.append(_move_up(fd, child, parent_fd))
    finally:
        for fd, _, _ in levels:
            os.close(fd)


def _descend(levels: list[tuple[int, bytes, int]], parent_fd: int, name: bytes) -> None:
    try:
        levels.append((_open_directory(parent_fd, name), name, parent_fd))
    except FileNotFoundError:
        pass


def _open_directory(parent_fd: int, name: bytes) -> int:
    try:
        return openat2(parent_fd, name, _DIRECTORY, resolve=_STAY)
    except OSError as exc:
        if exc.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "a mount point lies inside", os.fsdecode(name)) from exc
        if exc.errno != errno.EACCES:
            raise
    fd = openat2(parent_fd, name, os.O_PATH | _DIRECTORY, resolve=_STAY)
    try:
        fchmod_path(fd, 0o700)
    finally:
        os.close(fd)
    return openat2(parent_fd, name, _DIRECTORY, resolve=_STAY)


def _remove_files(fd: int) -> bytes | None:
    """Remove all but directories from a directory; return the name of one of these, None if it is empty."""
    while True:
        with os.scandir(fd) as entries:
            batch = [
                (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False))
                for entry in islice(entries, _BATCH)
            ]
        removed = False
        for name, is_directory in batch:
            if not is_directory:
                _change(fd, name, _unlink)
                removed = True
        if len(batch) == _BATCH and removed:
            continue
        return next((name for name, is_directory in batch if is_directory), None)


def _move_up(fd: int, name: bytes, to_fd: int) -> bytes:
    new_name = b".removed-" + os.urandom(8).hex().encode()
    os.rename(name, new_name, src_dir_fd=fd, dst_dir_fd=to_fd)
    return new_name


def _rmdir(name: bytes, directory_fd: int) -> None:
    os.rmdir(name, dir_fd=directory_fd)


def _unlink(name: bytes, directory_fd: int) -> None:
    os.unlink(name, dir_fd=directory_fd)


def _change(directory_fd: int, name: bytes, change: Change) -> None:
    """Unlink or rmdir; if that is refused, take the forbidding flags and modes away and try once more."""
    try:
        change(name, directory_fd)
    except FileNotFoundError:
        return
    except PermissionError:
        _make_changeable(directory_fd, name)
        change(name, directory_fd)


def _make_changeable(directory_fd: int, name: bytes) -> None:
    """Clear chattr's flags of a file or directory, and of the open directory it lies in."""
    _allow_changes(directory_fd)
    os.fchmod(directory_fd, 0o700)
    status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        return  # only these carry the flags, and opening another kind may act
    fd = openat2(directory_fd, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, resolve=_STAY)
    try:
        _allow_changes(fd)
    finally:
        os.close(fd)


def _allow_changes(fd: int) -> None:
    try:
        allow_changes(fd)
    except OSError as exc:
        if exc.errno not in (errno.ENOTTY, errno.ENOTSUP):
            raise


def tree_size(path: str) -> int:
    """Return the bytes of all files below a directory, hard links counted once, as Docker's SizeRw.

    The tree may change meanwhile: what is gone is not counted.
    """
    root_fd = os.open(path, _DIRECTORY)
    total = 0
    seen: set[int] = set()
    pending = ["."]
    try:
        while pending:
            total += _measure(root_fd, pending.pop(), pending, seen)
    finally:
        os.close(root_fd)
    return total


def _measure(root_fd: int, folder: str, pending: list[str], seen: set[int]) -> int:
    try:
        fd = openat2(root_fd, folder, _DIRECTORY, resolve=_STAY)
    except OSError:
        return 0  # gone, replaced, mounted over, or deeper than a path can be
    try:
        return _measure_files(fd, folder, pending, seen)
    finally:
        os.close(fd)


def _measure_files(fd: int, folder: str, pending: list[str], seen: set[int]) -> int:
    total = 0
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{folder}/{entry.name}")
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_nlink > 1:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            total += status.st_size
    return total
