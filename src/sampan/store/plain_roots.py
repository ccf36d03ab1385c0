"""Root file systems as plain copies of an image's tree, and what was changed in one since.

Layers lie on the disk in overlayfs's own form whatever driver a container has, so a copy is made by putting
one layer after the other into a directory; what was changed goes back into that form to be packed or kept.

A file counts as unchanged if kind, owner, mode, attributes, size and time are those of the image, and it was
not touched since the copy was made (its ctime, which no program can set); one that was touched is compared by
its content. Not seen: a directory that was renamed over another, with files of the same size and time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from sampan.errors import SampanError
from sampan.store.archive.attributes import is_opaque, make_opaque
from sampan.store.archive.directories import is_whiteout
from sampan.store.belowview import Below, Layers
from sampan.store.copying import Opened, TreeCopier
from sampan.store.inherit import copy_attributes
from sampan.store.merging import is_directory, remove_name

_LAYER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # may be named by its short link
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH: Final = 200  # a few descriptors a level
_PIECE: Final = 1 << 20
_OVERLAY: Final = ("trusted.overlay.", "user.overlay.")


def copy_layers(lower: Sequence[str], target: str) -> None:
    """Fill a new directory with what layers show together; lower is lowest first.

    Raises:
        OSError: the disk is full; the caller removes target.
    """
    with Opened(target) as target_fd:
        for folder in lower:
            with Opened(folder, flags=_LAYER) as source_fd:
                _LayerCopier().copy(source_fd, target_fd)


class _LayerCopier(TreeCopier):
    """Copies one layer over what those below it have made."""

    def enter(self, name: str, source: int, target: int) -> None:
        with Opened(name, source, _LOOK) as layer_fd:
            hides = is_opaque(layer_fd)
        if hides or not is_directory(target, name):
            remove_name(target, name)
            super().enter(name, source, target)

    def copy_entry(self, name: str, source: int, target: int, *, depth: int) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            remove_name(target, name)
        if not is_whiteout(status):
            super().copy_entry(name, source, target, depth=depth)


def collect_changes(tree: str, lower: Sequence[str], target: str, *, made_ns: int) -> None:
    """Fill a new directory with what a copy of layers has other than they, as an overlay's upper directory.

    lower is lowest first. Files are hard links to those of the tree, which is on the same file system.
    made_ns: the time at which the copy was whole.
    """
    with Below(lower[::-1]) as below, Opened(tree) as tree_fd, Opened(target) as target_fd:
        _Comparison(below, made_ns).directory(tree_fd, target_fd, b"", below.layers, depth=0)
        copy_attributes(tree_fd, target_fd)


class _Comparison:
    def __init__(self, below: Below, made_ns: int) -> None:
        self._below = below
        self._made_ns = made_ns

    def directory(self, tree: int, target: int, path: bytes, among: Layers, *, depth: int) -> None:
        """Take over what differs in one directory; among: the layers that contribute to it."""
        if depth > _MAX_DEPTH:
            raise SampanError(f"cannot read a container's changes: directories over {_MAX_DEPTH} deep")
        prefix = path + b"/" if path else b""
        names = {os.fsencode(name) for name in os.listdir(tree)}
        for name in sorted(names):
            try:
                status = os.stat(name, dir_fd=tree, follow_symlinks=False)
            except FileNotFoundError:
                continue  # gone meanwhile, as on every running container
            if stat.S_ISDIR(status.st_mode):
                self._enter(name, tree, target, prefix + name, among, depth=depth)
            elif not self._is_same(name, tree, status, prefix + name, among):
                os.link(name, name, src_dir_fd=tree, dst_dir_fd=target, follow_symlinks=False)
        for name in self._below.names(path, among) - names:
            if self._below.find(prefix + name, among) is not None:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=target)

    def _enter(self, name: bytes, tree: int, target: int, path: bytes, among: Layers, *, depth: int) -> None:
        old = self._below.find(path, among)
        was_directory = old is not None and stat.S_ISDIR(old.st_mode)
        os.mkdir(name, 0o700, dir_fd=target)
        with Opened(name, tree) as tree_fd, Opened(name, target) as target_fd:
            if old is not None and not was_directory:
                make_opaque(target_fd)
            inside = self._below.enter(path, among) if was_directory else ()
            self.directory(tree_fd, target_fd, path, inside, depth=depth + 1)
            is_same = (
                was_directory and not os.listdir(target_fd) and self._has_attributes(tree_fd, path, among)
            )
            copy_attributes(tree_fd, target_fd)
        if is_same:
            os.rmdir(name, dir_fd=target)

    def _has_attributes(self, tree_fd: int, path: bytes, among: Layers) -> bool:
        with self._below.looking(path, among) as fd:
            return _attributes(tree_fd) == _attributes(fd)

    def _is_same(self, name: bytes, tree: int, status: os.stat_result, path: bytes, among: Layers) -> bool:
        with self._below.looking(path, among) as below_fd:
            if below_fd < 0 or _outline(status) != _outline(os.fstat(below_fd)):
                return False
            with Opened(name, tree, _LOOK) as fd:
                if stat.S_ISLNK(status.st_mode):
                    return os.readlink("", dir_fd=fd) == os.readlink("", dir_fd=below_fd)
                if status.st_ctime_ns < self._made_ns:
                    return True
                return _xattrs(fd) == _xattrs(below_fd) and (
                    not stat.S_ISREG(status.st_mode) or _have_same_content(fd, below_fd)
                )


def _outline(status: os.stat_result) -> tuple[int, ...]:
    kind = stat.S_IFMT(status.st_mode)
    of_kind = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
    size = status.st_size if kind == stat.S_IFREG else 0
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, of_kind, size


def _attributes(fd: int) -> tuple[tuple[int, ...], dict[str, bytes]]:
    return _outline(os.fstat(fd)), _xattrs(fd)


def _xattrs(fd: int) -> dict[str, bytes]:
    """Return what a file (fd may be O_PATH) has of attributes, without overlayfs's own."""
    place = f"/proc/self/fd/{fd}"
    try:
        names = os.listxattr(place)
    except OSError:
        return {}
    return {name: os.getxattr(place, name) for name in names if not name.startswith(_OVERLAY)}


def _have_same_content(one: int, other: int) -> bool:
    with open(f"/proc/self/fd/{one}", "rb") as first, open(f"/proc/self/fd/{other}", "rb") as second:
        while piece := first.read(_PIECE):
            if piece != second.read(_PIECE):
                return False
        return not second.read(1)
