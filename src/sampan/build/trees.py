"""What COPY reads from: a context or another stage's root, seen as one kind of tree."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from sampan.errors import InvalidArgument
from sampan.kernel.constants import RESOLVE_NO_SYMLINKS
from sampan.kernel.files import reopen
from sampan.kernel.resolve import open_in_root
from sampan.store.archive import headers
from sampan.store.archive.headers import Entry
from sampan.store.archive.packing import read_xattrs
from sampan.store.archive.writer import KINDS

_MAX_LINKS: Final = 40
_PIECE: Final = 1 << 20
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(slots=True)
class Item:
    """One file, directory or other thing of a tree; path is clean, relative, and leads through no link.

    digest: of a regular file's content, "" until it was asked for. offset: in a context's spool. same: what
    files with several names have in common.
    """

    path: str
    entry: Entry
    digest: str = ""
    offset: int = 0
    same: object = None

    @property
    def is_directory(self) -> bool:
        """Whether others may lie below."""
        return self.entry.kind == headers.DIRECTORY


class Tree(Protocol):
    """Files by path; `find` follows no link."""

    def find(self, path: str) -> Item | None:
        """Return what lies at a path, "" is the root."""
        ...

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, in order."""
        ...

    def children(self, path: str) -> Iterable[Item]:
        """Return what lies in a directory, in the order of names."""
        ...

    def data(self, item: Item) -> Iterator[memoryview]:
        """Yield a regular file's stored bytes."""
        ...


@runtime_checkable
class FarTree(Protocol):
    """A tree whose files are not here until they are asked for: better together than one by one."""

    def learn(self, items: Sequence[Item]) -> None:
        """Get the digests of files."""
        ...

    def need(self, items: Sequence[Item]) -> None:
        """Get the content of files."""
        ...


def learn_digests(files: Iterable[tuple[Tree, Item]]) -> None:
    """Get the digests of those files that lie in far trees."""
    for tree, items in _far(files):
        tree.learn(items)


def bring_near(files: Iterable[tuple[Tree, Item]]) -> None:
    """Get the content of those files that lie in far trees."""
    for tree, items in _far(files):
        tree.need(items)


def _far(files: Iterable[tuple[Tree, Item]]) -> Iterable[tuple[FarTree, list[Item]]]:
    """Return files by the far tree that they lie in."""
    found: dict[int, tuple[FarTree, list[Item]]] = {}
    last: Tree | None = None
    is_far = False
    for tree, item in files:
        if tree is not last:
            last, is_far = tree, isinstance(tree, FarTree)
        if is_far:
            assert isinstance(tree, FarTree)
            found.setdefault(id(tree), (tree, []))[1].append(item)
    return found.values()


def resolve(tree: Tree, path: str) -> Item | None:
    """Return what a path means, with links followed; none leads out of the tree.

    Raises:
        InvalidArgument: too many links.
    """
    pending = path.split("/")[::-1]
    here: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = here[:-1]
            continue
        found = tree.find("/".join([*here, name]))
        if found is None:
            return None
        if found.entry.kind != headers.SYMLINK:
            here.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidArgument(f"too many symbolic links in {path!r}")
        target = os.fsdecode(found.entry.linkname)
        here = [] if target.startswith("/") else here
        pending += target.split("/")[::-1]
    return tree.find("/".join(here))


def walk(tree: Tree, top: Item) -> Iterator[Item]:
    """Yield everything below a directory, a directory before its content."""
    pending = [iter(tree.children(top.path))]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        yield found
        if found.entry.kind == headers.DIRECTORY:
            pending.append(iter(tree.children(found.path)))


def content_digest(tree: Tree, item: Item) -> str:
    """Return the digest of a regular file's content; it is kept."""
    if not item.digest:
        digest = hashlib.sha256()
        for piece in tree.data(item):
            digest.update(piece)
        item.digest = digest.hexdigest()
    return item.digest


class RootTree:
    """The files of a root that is open (O_PATH). Nothing outside of it can be reached."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._found: dict[str, Item | None] = {}

    def find(self, path: str) -> Item | None:
        """See `Tree`."""
        if path not in self._found:
            self._found[path] = self._look(path)
        return self._found[path]

    def names(self, path: str) -> list[str]:
        """See `Tree`."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def children(self, path: str) -> Iterator[Item]:
        """See `Tree`."""
        for name in self.names(path):
            found = self.find(posixpath.join(path, name))
            if found is not None:
                yield found

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `Tree`."""
        with os.fdopen(self._open(item.path, os.O_RDONLY), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield memoryview(piece)

    def _open(self, path: str, flags: int) -> int:
        looked = open_in_root(
            self._root_fd, path or ".", os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_NO_SYMLINKS
        )
        try:
            return reopen(looked, flags)
        finally:
            os.close(looked)

    def _look(self, path: str) -> Item | None:
        try:
            fd = open_in_root(
                self._root_fd, path or ".", os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_NO_SYMLINKS
            )
        except OSError as exc:
            if exc.errno not in _ABSENT and exc.errno != errno.ELOOP:
                raise
            return None
        try:
            status = os.fstat(fd)
            if stat.S_ISSOCK(status.st_mode):
                return None
            same = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
            return Item(path, _entry_of(fd, path, status), same=same)
        finally:
            os.close(fd)


def _entry_of(fd: int, path: str, status: os.stat_result) -> Entry:
    entry = make_entry(KINDS[stat.S_IFMT(status.st_mode)], path)
    entry.mode = stat.S_IMODE(status.st_mode)
    entry.uid, entry.gid = status.st_uid, status.st_gid
    entry.mtime_ns = status.st_mtime_ns
    if entry.kind == headers.REGULAR:
        entry.size = entry.stored_bytes = status.st_size
    if entry.kind == headers.SYMLINK:
        entry.linkname = os.readlink(b"", dir_fd=fd)
    elif entry.kind in (headers.REGULAR, headers.DIRECTORY):
        entry.xattrs = read_xattrs(f"/proc/self/fd/{fd}")
    else:
        entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return entry


def make_entry(kind: bytes, path: str) -> Entry:
    """Return an entry of root's without content. path: "" where the item says it."""
    entry = Entry()
    entry.name, entry.kind = os.fsencode(path) if path else b"", kind
    entry.mode = 0o755 if kind == headers.DIRECTORY else 0o644
    entry.uid = entry.gid = entry.size = entry.stored_bytes = entry.mtime_ns = 0
    entry.linkname, entry.device, entry.xattrs, entry.sparse = b"", (0, 0), None, None
    return entry
