"""Reads single files of a root that is not mounted, by overlayfs's rules. docs/store.md, "Snapshots".

Source: Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument
from sampan.kernel.files import reopen
from sampan.store.archive.attributes import is_opaque
from sampan.store.archive.directories import is_whiteout

MAX_FILE_BYTES: Final = 10 << 20  # as moby and containerd limit /etc/passwd (CVE-2024-9676)
_MAX_LINKS = 40  # as the kernel (MAXSYMLINKS)
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

Merged = tuple[int, ...]  # descriptors of one directory in each layer that shows through, highest first


@dataclass(frozen=True, slots=True)
class _Found:
    fd: int
    status: os.stat_result


class RootView:
    """Layers seen as one tree; use it in a `with`. It holds a few descriptors for each step of a look-up."""

    def __init__(self, layers: Sequence[str]) -> None:
        """Take the layers' directories, highest first."""
        self._layers = layers
        self._stack = ExitStack()
        self._root: Merged = ()

    def __enter__(self) -> RootView:
        self._root = tuple(
            self._own(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) for path in self._layers
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def read_file(self, unsafe_path: str) -> bytes | None:
        """Return the content of a regular file, following links inside the root; None if there is none.

        Raises:
            InvalidArgument: it is no regular file, larger than 10 MiB, or behind too many links.
        """
        found = self._resolve(unsafe_path)
        if found is None:
            return None
        if not stat.S_ISREG(found.status.st_mode):
            raise InvalidArgument(f"{unsafe_path} is no regular file")
        if found.status.st_size > MAX_FILE_BYTES:
            raise InvalidArgument(
                f"{unsafe_path} has {found.status.st_size} bytes; {MAX_FILE_BYTES} is the most"
            )
        with open(reopen(found.fd, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(MAX_FILE_BYTES)

    def find_directory(self, unsafe_path: str) -> Merged | None:
        """Return descriptors of a directory in each layer that shows through, highest first, or None.

        They are the view's, and closed with it.
        """
        walked, found = self._walk(unsafe_path)
        if not walked or (found is not None and not stat.S_ISDIR(found.status.st_mode)):
            return None
        return walked[-1]

    def find_file(self, unsafe_path: str) -> str | None:
        """Return the path of a regular file in its layer, None if there is none; layers never change."""
        found = self._resolve(unsafe_path)
        if found is None or not stat.S_ISREG(found.status.st_mode):
            return None
        return os.readlink(f"/proc/self/fd/{found.fd}")

    def _resolve(self, unsafe_path: str) -> _Found | None:
        walked, found = self._walk(unsafe_path)
        if not walked:
            return None
        return found or _Found(walked[-1][0], os.fstat(walked[-1][0]))

    def _walk(self, unsafe_path: str) -> tuple[list[Merged], _Found | None]:
        """Return the directories on the way, none if there is nothing, and what the last name is."""
        names = _split(unsafe_path)
        walked: list[Merged] = [self._root]
        found: _Found | None = None
        links = 0
        while names:
            name = names.pop()
            if name == "..":
                walked = walked[:-1] or [self._root]
                found = None
                continue
            merged, found = self._look_up(walked[-1], name)
            if found is None:
                return [], None
            if merged:
                walked.append(merged)
            elif stat.S_ISLNK(found.status.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise InvalidArgument(f"{unsafe_path} leads through too many links")
                target = os.readlink("", dir_fd=found.fd)
                names += _split(target)
                if target.startswith("/"):
                    walked = [self._root]
            elif names:
                return [], None  # a file in the place of a directory
        return walked, found

    def _look_up(self, directory: Merged, name: str) -> tuple[Merged, _Found | None]:
        """Return the merged directory of a name (empty for another kind), and what is highest."""
        parts: list[int] = []
        highest: _Found | None = None
        for parent_fd in directory:
            try:
                fd = self._own(os.open(name, _STEP, dir_fd=parent_fd))
            except FileNotFoundError:
                continue
            status = os.fstat(fd)
            if is_whiteout(status):
                break
            if not stat.S_ISDIR(status.st_mode):
                if highest is None:
                    return (), _Found(fd, status)
                break
            highest = highest or _Found(fd, status)
            parts.append(fd)
            if is_opaque(fd):
                break
        return tuple(parts), highest

    def _own(self, fd: int) -> int:
        self._stack.callback(os.close, fd)
        return fd


def _split(path: str) -> list[str]:
    """Return the names of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
