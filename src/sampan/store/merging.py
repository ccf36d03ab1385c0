"""Several layers as one: what `--squash` makes. Files are hard links into the layers, which nobody changes.

```
 lowest layer ──▶ ─┐
        …          ├─ later names replace, whiteouts and opaque directories hide ─▶ one upper directory
 highest layer ─▶ ─┘   (whiteouts stay: they may hide what lies below all of them)
```
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sampan.store.archive.attributes import is_opaque, make_opaque
from sampan.store.archive.directories import is_whiteout
from sampan.store.inherit import copy_attributes
from sampan.store.trees import remove_tree_at

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def merge_layers(folders: Sequence[str], target: str) -> None:
    """Fill a new directory with what layers have together, lowest first; all on one file system.

    Raises:
        OSError: the disk is full; the caller removes target.
    """
    with _opened(target) as target_fd:
        for folder in folders:
            with _opened(folder) as source_fd:
                _merge(source_fd, target_fd)
                copy_attributes(source_fd, target_fd)


def _merge(source: int, target: int) -> None:
    for name in sorted(os.listdir(source)):
        status = os.lstat(name, dir_fd=source)
        if not stat.S_ISDIR(status.st_mode):
            remove_name(target, name)
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            continue
        with _opened(name, source) as source_fd:
            hides = is_opaque(source_fd) or _is_hidden(target, name)
            if hides or not is_directory(target, name):
                remove_name(target, name)
            if not is_directory(target, name):
                os.mkdir(name, 0o700, dir_fd=target)
            with _opened(name, target) as target_fd:
                if hides:
                    make_opaque(target_fd)
                _merge(source_fd, target_fd)
                copy_attributes(source_fd, target_fd)


def _is_hidden(target: int, name: str) -> bool:
    """Tell whether a layer merged so far takes away what lies below: a whiteout, or any file in its place."""
    try:
        status = os.lstat(name, dir_fd=target)
    except FileNotFoundError:
        return False
    return is_whiteout(status) or not stat.S_ISDIR(status.st_mode)


def is_directory(target: int, name: str) -> bool:
    """Tell whether a directory has another one by a name."""
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=target).st_mode)
    except FileNotFoundError:
        return False


def remove_name(target: int, name: str) -> None:
    """Remove what a directory has by a name, if it has anything."""
    if is_directory(target, name):
        remove_tree_at(target, os.fsencode(name))
        return
    try:
        os.unlink(name, dir_fd=target)
    except FileNotFoundError:
        pass


@contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[int]:
    fd = os.open(name, _DIRECTORY, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)
