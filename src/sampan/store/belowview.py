"""What shows below an upper directory, name by name: layers by overlayfs's rules, without mounting them.

For a directory one knows which layers still contribute to it; a look-up asks these only. No descriptor is
held but one a layer, however deep the tree. Source: Linux, filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final

from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from sampan.kernel.files import openat2
from sampan.store.archive.attributes import is_opaque
from sampan.store.archive.directories import is_whiteout

_STAY: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_LOOK = os.O_PATH | os.O_NOFOLLOW
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

Layers = tuple[int, ...]  # descriptors of the roots of layers, highest first


class Below:
    """Layers, the highest first; use it in a `with`. Paths are relative, b"" is the root."""

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers: Layers = ()
        try:
            for path in layers:
                self.layers += (os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the layers."""
        for fd in self.layers:
            os.close(fd)
        self.layers = ()

    def __enter__(self) -> Below:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def find(self, path: bytes, among: Layers) -> os.stat_result | None:
        """Return what shows at a path; among: the layers that contribute to its directory."""
        with self.looking(path, among) as fd:
            return os.fstat(fd) if fd >= 0 else None

    @contextmanager
    def looking(self, path: bytes, among: Layers) -> Iterator[int]:
        """Give an O_PATH descriptor of what shows at a path, -1 if nothing does."""
        for layer in among:
            with _look(layer, path) as fd:
                if fd >= 0:
                    yield -1 if is_whiteout(os.fstat(fd)) else fd
                    return
        yield -1

    def enter(self, path: bytes, among: Layers) -> Layers:
        """Return which of the layers contribute to the directory at a path."""
        found: Layers = ()
        for layer in among:
            with _look(layer, path) as fd:
                if fd < 0:
                    continue
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    break
                found += (layer,)
                if is_opaque(fd):
                    break
        return found

    def names(self, path: bytes, among: Layers) -> set[bytes]:
        """Return the names in the directory at a path; among: the layers that contribute to it."""
        shown: set[bytes] = set()
        hidden: set[bytes] = set()
        for layer in among:
            with _look(layer, path) as fd:
                if fd >= 0:
                    names, whiteouts = _names_in(fd)
                    shown |= names - hidden
                    hidden |= whiteouts
        return shown


@contextmanager
def _look(layer: int, path: bytes) -> Iterator[int]:
    """Give an O_PATH descriptor of a path in one layer, -1 if there is nothing."""
    try:
        fd = openat2(layer, path or b".", _LOOK, resolve=_STAY)
    except OSError as exc:
        if exc.errno not in _ABSENT:
            raise
        yield -1
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _names_in(fd: int) -> tuple[set[bytes], set[bytes]]:
    """Return the names in a directory of one layer: of its files, and of what it hides below."""
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        names = {os.fsencode(name) for name in os.listdir(listed)}
        hidden = {name for name in names if is_whiteout(os.stat(name, dir_fd=listed, follow_symlinks=False))}
    finally:
        os.close(listed)
    return names - hidden, hidden
