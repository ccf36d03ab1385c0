"""A context that lies on this machine, read where it is: nothing is sent, spooled or copied before a COPY.

Directories are listed when something asks for them. Contents are hashed once: `KnownDigests` remembers
digests by what the file system says of a file. One that changes between digest and copy fails the build.
"""

from __future__ import annotations

import os
import posixpath
import stat
import time
from collections.abc import Iterator
from typing import Final

from sampan.build.ignore import parse_ignore
from sampan.build.index import IGNORE, Index
from sampan.build.known_digests import Facts, KnownDigests
from sampan.build.patterns import PatternList
from sampan.build.trees import Item, make_entry
from sampan.errors import Conflict
from sampan.kernel.constants import RESOLVE_NO_SYMLINKS
from sampan.kernel.resolve import open_in_root
from sampan.store.archive import headers

_PIECE: Final = 1 << 20
_RACY_NS: Final = 100_000_000  # the kernel's clock for times of files ticks every 1 to 10 ms
_KINDS: Final = {
    stat.S_IFREG: headers.REGULAR,
    stat.S_IFDIR: headers.DIRECTORY,
    stat.S_IFLNK: headers.SYMLINK,
}


class DirectoryContext(Index):
    """An open directory, whose descriptor it takes over. Used by threads of several stages.

    All is owned by root, as in what Docker's clients send; sockets, pipes and devices are not there.
    """

    def __init__(self, fd: int, known: KnownDigests) -> None:
        super().__init__()
        self._fd = fd
        self._known = known
        self._began_ns = time.time_ns()
        self._listed: dict[str, dict[str, None]] = {}
        self._unknown: dict[str, Facts] = {}  # files whose digest is not remembered
        self._links: dict[tuple[int, int], object] = {}
        self._patterns = PatternList([])

    def find(self, path: str) -> Item | None:
        """See `trees.Tree`."""
        parent, _, name = path.rpartition("/")
        if path and name not in self._list(parent):
            return None
        return self._items[path]

    def names(self, path: str) -> list[str]:
        """See `trees.Tree`."""
        return list(self._list(path))

    def ignore(self, dockerfile: str, *, everything: bool, given: bytes | None = None) -> None:
        """See `Index`; here it is applied as directories are listed."""
        for name in (f"{dockerfile}{IGNORE}", IGNORE):
            raw = self.document(name) if given is None else given
            if raw is not None:
                self._patterns = parse_ignore(raw, file=name)
                self._listed.clear()
                return

    def _list(self, path: str) -> dict[str, None]:
        if path not in self._listed:
            found = self.find(path) if path else self._items[path]
            is_directory = found is not None and found.is_directory
            self._listed[path] = dict.fromkeys(sorted(self._read(path))) if is_directory else {}
        return self._listed[path]

    def _read(self, path: str) -> list[str]:
        """Return what is kept of an existing directory."""
        names: list[str] = []
        try:
            fd = open_in_root(
                self._fd, path or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_NO_SYMLINKS
            )
        except OSError as exc:
            raise _changed(path) from exc
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    inside = f"{path}/{entry.name}" if path else entry.name
                    if self._look(fd, entry.name, inside, status):
                        names.append(entry.name)
        finally:
            os.close(fd)
        return [name for name in names if self._is_kept(path, name)] if self._patterns else names

    def _look(self, fd: int, name: str, path: str, status: os.stat_result) -> bool:
        """Take a name of an open directory in; False if it is a socket, pipe or device."""
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return False
        made = make_entry(kind, "")  # its name is the item's path
        made.mode = stat.S_IMODE(status.st_mode)
        made.mtime_ns = status.st_mtime_ns
        item = self._items[path] = Item(path, made)
        if kind == headers.REGULAR:
            made.size = made.stored_bytes = status.st_size
            item.digest = self._known.find(path, _facts(status))
            if not item.digest:
                self._unknown[path] = _facts(status)
            if status.st_nlink > 1:
                item.same = self._links.setdefault((status.st_dev, status.st_ino), object())
        elif kind == headers.SYMLINK:
            made.linkname = os.fsencode(os.readlink(name, dir_fd=fd))
        return True

    def _is_kept(self, folder: str, name: str) -> bool:
        """Tell whether `.dockerignore` leaves a name there: a directory also for what is kept below it."""
        path = posixpath.join(folder, name)
        if not self._patterns.matches(path):
            return True
        return self._items[path].is_directory and self._patterns.has_exceptions and self._holds(path)

    def _holds(self, path: str) -> bool:
        self._listed[path] = dict.fromkeys(sorted(self._read(path)))
        return bool(self._listed[path])

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`.

        Raises:
            Conflict: the file is another one than it was.
        """
        try:
            fd = open_in_root(self._fd, item.path, os.O_RDONLY | os.O_NONBLOCK, resolve=RESOLVE_NO_SYMLINKS)
        except OSError as exc:
            raise _changed(item.path) from exc
        with os.fdopen(fd, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield memoryview(piece)
            facts = _facts(os.fstat(fd))
        listed = self._unknown.get(item.path)
        if facts != listed if listed is not None else not self._known.find(item.path, facts):
            raise _changed(item.path)

    def close(self) -> None:
        """Remember the digests, close the directory, and give the memory of the list back."""
        if self._fd >= 0:
            until = self._began_ns - _RACY_NS
            digests = {
                path: (facts, digest)
                for path, facts in self._unknown.items()
                if (digest := self._items[path].digest) and max(facts[1], facts[2]) < until
            }
            self._known.add(digests)
            os.close(self._fd)
            self._fd = -1
        self._known.close()
        for held in (self._items, self._names, self._listed, self._unknown, self._links):
            held.clear()


def _facts(status: os.stat_result) -> Facts:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, 0)


def _changed(path: str) -> Conflict:
    return Conflict(f"{path or 'the context'} was changed while it was read", hint="build again")
