"""Files that a COPY has put into an earlier layer, linked into the new one instead of written again.

```
 COPY . /app, one of 1000 files changed
 earlier layer  diff/app/a  diff/app/b  files          what it has: name → digest, size, time, place
                     │           │
                   link(2)     another digest: written
                     ▼           ▼
 new layer      diff/app/a  diff/app/b
```

While entries are placed, a file that the earlier layer has is left out: a file of its size without content.
Once everything has its attributes, links replace them. A link shares owner, mode, time and attributes, too;
where one differs the content is copied. No layer is ever written to. A link has the path that it has in the
earlier layer, so two layers of one root never show one file under two names.
docs/decisions/0060-links-between-layers.md.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan.build.trees import FarTree, Item, Tree
from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from sampan.kernel.resolve import openat2
from sampan.store.archive import headers
from sampan.store.copying import copy_content

_LEAST_BYTES: Final = (
    64 * 1024
)  # a smaller file is written as quickly as it is linked; sending one takes longer
_STAY: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_NEW_NAME: Final = b".sampan-linked"
_UNLINKABLE: Final = frozenset({errno.EMLINK, errno.EPERM, errno.EXDEV})

# name that the COPY gave it, digest, size, time, path in the layer (another one where a link led elsewhere)
_Record = tuple[bytes, str, int, int, bytes]
_decoder = msgspec.msgpack.Decoder(list[_Record])
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class EarlierLayer:
    """A layer that stays for as long as it is used here. record: as `LayerFiles.finish` has returned it."""

    directory: str
    record: bytes


@dataclass(frozen=True, slots=True)
class _Source:
    layer: int  # which of the earlier ones
    size: int
    mtime_ns: int
    path: bytes


@dataclass(frozen=True, slots=True)
class _Placed:
    name: bytes
    digest: str
    source: _Source | None  # left out, to be linked


class LayerFiles:
    """The regular files of a layer that a COPY makes, by one thread."""

    def __init__(self, earlier: Sequence[EarlierLayer] = ()) -> None:
        """earlier: the latest first; they may differ in times, as those that different clients send."""
        self._directories = [os.fsencode(layer.directory) for layer in earlier]
        self._known: dict[tuple[bytes, str], list[_Source]] = {}
        for number, layer in enumerate(earlier):
            _read(layer.record, number, self._known)
        self._placed: dict[bytes, _Placed] = {}
        self._found: dict[bytes, _Source] = {}

    def find(self, name: bytes, tree: Tree, item: Item) -> bool:
        """Tell whether the earlier layer has a file, so that its content is not asked for."""
        if not self._known or not is_candidate(tree, item):
            return False
        known = self._known.get((name, item.digest), ())
        for source in sorted(known, key=lambda one: one.mtime_ns != item.entry.mtime_ns):
            if source.size == item.entry.size and self._is_there(source):
                self._found[name] = source
                return True
        return False

    def _is_there(self, source: _Source) -> bool:
        """Look at the file itself: somebody who writes into the data root is not passed on."""
        try:
            status = os.lstat(os.path.join(self._directories[source.layer], source.path))
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (
            source.size,
            source.mtime_ns,
        )

    def is_left_out(self, name: bytes) -> bool:
        """Tell whether `find` has found a file."""
        return name in self._found

    def add(self, path: bytes, name: bytes, item: Item) -> None:
        """Note a file: its path below the root, and the name that the COPY gives it."""
        self._placed[path] = _Placed(name, item.digest, self._found.get(name))

    def drop(self, path: bytes) -> None:
        """Forget a file that another one replaces."""
        self._placed.pop(path, None)

    def finish(self, upper: str) -> bytes:
        """Put the content of what was left out into the upper directory; return a record of its files."""
        records: list[_Record] = []
        with ExitStack() as stack:
            folders = _Folders(stack, upper, self._directories)
            for path, placed in self._placed.items():
                folder, _, name = path.rpartition(b"/")
                target = folders.target(folder)
                if placed.source is not None:
                    _fill(folders, target, name, path, placed.source)
                status = os.lstat(name, dir_fd=target)
                records.append((placed.name, placed.digest, status.st_size, status.st_mtime_ns, path))
        return _encoder.encode(records) if records else b""


def is_candidate(tree: Tree, item: Item) -> bool:
    """Tell whether a file may be linked, and is worth it: a plain one with one name."""
    entry = item.entry
    return (
        entry.kind == headers.REGULAR
        and entry.size >= (1 if isinstance(tree, FarTree) else _LEAST_BYTES)
        and item.digest != ""
        and item.same is None
        and not entry.xattrs
        and entry.sparse is None
    )


def _read(record: bytes, layer: int, known: dict[tuple[bytes, str], list[_Source]]) -> None:
    """Add what a layer has to what is known."""
    try:
        found = _decoder.decode(record)
    except msgspec.MsgspecError:
        return  # of another version
    for name, digest, size, mtime_ns, path in found:
        known.setdefault((name, digest), []).append(_Source(layer, size, mtime_ns, path))


class _Folders:
    """The directories that files lie in, one of each side open at a time; times of the new one are kept."""

    def __init__(self, stack: ExitStack, upper: str, earlier: Sequence[bytes]) -> None:
        self._upper = _opened(stack, upper)
        self._earlier = [_opened(stack, directory) for directory in earlier]
        self._stack = stack
        self._now: dict[int, tuple[bytes, ExitStack, int]] = {}

    def target(self, path: bytes) -> int:
        """Return a directory of the new layer; its times are put back when the next one is opened."""
        return self._open(self._upper, path, keep_times=True)

    def source(self, layer: int, path: bytes) -> int:
        """Return a directory of an earlier layer."""
        return self._open(self._earlier[layer], path, keep_times=False)

    def _open(self, root: int, path: bytes, *, keep_times: bool) -> int:
        here = self._now.get(root)
        if here is not None:
            if here[0] == path:
                return here[2]
            here[1].close()
        stack = self._stack.enter_context(ExitStack())
        fd = openat2(root, path or b".", _DIRECTORY, resolve=_STAY)
        stack.callback(os.close, fd)
        if keep_times:
            status = os.fstat(fd)
            stack.callback(os.utime, fd, ns=(status.st_atime_ns, status.st_mtime_ns))
        self._now[root] = (path, stack, fd)
        return fd


def _opened(stack: ExitStack, path: str | bytes) -> int:
    fd = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _fill(folders: _Folders, target: int, name: bytes, path: bytes, source: _Source) -> None:
    """Give a file that was left out its content: a link to the same path of the earlier layer, or a copy."""
    folder, _, source_name = source.path.rpartition(b"/")
    source_fd = folders.source(source.layer, folder)
    if path == source.path and _is_same(source_fd, target, name):
        try:
            os.link(name, _NEW_NAME, src_dir_fd=source_fd, dst_dir_fd=target, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _UNLINKABLE:
                raise
        else:
            os.rename(_NEW_NAME, name, src_dir_fd=target, dst_dir_fd=target)
            return
    _copy(source_fd, source_name, target, name)


def _is_same(source: int, target: int, name: bytes) -> bool:
    """Tell whether two files of one name have all in common that a link shares."""
    old, new = (os.lstat(name, dir_fd=folder) for folder in (source, target))
    facts = [(one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns, one.st_size) for one in (old, new)]
    return facts[0] == facts[1] and _attributes(source, name) == _attributes(target, name)


def _attributes(folder: int, name: bytes) -> dict[str, bytes]:
    place = f"/proc/self/fd/{folder}/".encode() + name
    return {
        one: os.getxattr(place, one, follow_symlinks=False)
        for one in os.listxattr(place, follow_symlinks=False)
    }


def _copy(source: int, source_name: bytes, target: int, name: bytes) -> None:
    with (
        _file(source, source_name, os.O_RDONLY) as old,
        _file(target, name, os.O_WRONLY) as new,
    ):
        status = os.fstat(new)
        copy_content(old, new, status.st_size)
        os.fchmod(new, stat.S_IMODE(status.st_mode))  # writing may clear setuid
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def _file(folder: int, name: bytes, flags: int) -> Iterator[int]:
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)
