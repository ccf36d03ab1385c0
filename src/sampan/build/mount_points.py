"""What a RUN leaves where something was mounted: made only to be mounted over, it is no part of the layer.

By descriptors, and through no link: the step may have put one, out of the root, where the directory of a
mount point was (CVE-2024-23652). Links that were there before the step are followed by their text, inside the
root, as the runtime did when it mounted.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from sampan.kernel.resolve import openat2

_MAX_LINKS = 40


def remove_mount_points(upper: str, lower: Sequence[str], targets: Sequence[str]) -> None:
    """Take the mount points of targets out of an upper directory, where they are empty and not below.

    lower: the directories of the layers below, lowest first.
    """
    for target in targets:
        point = path = _resolve(lower, target)
        while path and not any(_find(folder, path) for folder in lower):
            if not _remove_empty(upper, path, also_file=path == point):
                break
            path = posixpath.dirname(path)


def _resolve(lower: Sequence[str], path: str) -> str:
    """Return what a path means in the layers below, without a slash at either end."""
    pending, done, links = path.split("/")[::-1], "", 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            done = posixpath.dirname(done)
            continue
        here = posixpath.join(done, name)
        found = next((one for folder in reversed(lower) if (one := _find(folder, here))), None)
        if found is None or not found.link or links == _MAX_LINKS:
            done = here
            continue
        links += 1
        done = "" if found.link.startswith("/") else done
        pending += found.link.split("/")[::-1]
    return done


class _Found:
    """A file of a layer; link: its target if it is one."""

    def __init__(self, link: str) -> None:
        self.link = link


def _find(folder: str, path: str) -> _Found | None:
    try:
        with _parent(folder, path) as fd:
            name = posixpath.basename(path)
            is_link = stat.S_ISLNK(os.lstat(name, dir_fd=fd).st_mode)
            return _Found(os.readlink(name, dir_fd=fd) if is_link else "")
    except OSError:
        return None


def _remove_empty(folder: str, path: str, *, also_file: bool) -> bool:
    """Remove an empty directory, or, also_file, an empty file; tell whether it is gone."""
    name = posixpath.basename(path)
    try:
        with _parent(folder, path) as fd:
            status = os.lstat(name, dir_fd=fd)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=fd)
            elif stat.S_ISREG(status.st_mode) and not status.st_size and also_file:
                os.unlink(name, dir_fd=fd)
            else:
                return False
    except OSError:
        return False
    return True


@contextmanager
def _parent(folder: str, path: str) -> Iterator[int]:
    """Open the directory that a path lies in, below folder, through no link."""
    folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = openat2(
            folder_fd,
            posixpath.dirname(path) or ".",
            os.O_PATH | os.O_DIRECTORY,
            resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
        )
    finally:
        os.close(folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)
