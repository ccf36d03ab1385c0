"""Writes what a COPY selected into an open root, entry by entry, by the archive's own careful hands.

Parents are found inside the root and made where missing; existing directories are merged (docs/build.md).
"""

from __future__ import annotations

import copy
import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from sampan.build.owners import ChangeMode
from sampan.build.reusing import LayerFiles, is_candidate
from sampan.build.selecting import Picked, Selection
from sampan.build.trees import Item, RootTree, Tree, bring_near, resolve
from sampan.errors import InvalidArgument
from sampan.kernel.resolve import open_in_root
from sampan.store.archive import headers
from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.archive.directories import Directories, DirectoryTimes
from sampan.store.archive.headers import BLOCK, Entry
from sampan.store.archive.limits import DEFAULT_LIMITS, Limits
from sampan.store.archive.placing import Placer, Rules
from sampan.store.archive.readable import Readable
from sampan.store.archive.reader import TarReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a selection is put down. destination is absolute, a slash at its end counts.

    owner: of all that is made, None for their own. unpack: archives among the files are unpacked;
    archive_owner: of what is in them.
    """

    destination: str
    owner: tuple[int, int] | None = None
    mode: ChangeMode | None = None
    parent_mode: int | None = None
    unpack: bool = False
    archive_owner: tuple[int, int] | None = None


def copy_selection(
    root_fd: int,
    selection: Selection,
    wish: Wish,
    *,
    spool_directory: str,
    files: LayerFiles | None = None,
) -> None:
    """Write a selection below a root. files: is told them, and has to fill in those that it has.

    Raises:
        InvalidArgument: a file would replace a directory, or the other way round, or an archive is damaged.
    """
    try:
        _Copier(root_fd, selection, wish, spool_directory, files).run()
    except OSError as exc:
        if exc.errno not in (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        raise InvalidArgument(f"cannot copy to {wish.destination}: {exc.strerror}") from exc


class _Copier:
    def __init__(
        self,
        root_fd: int,
        selection: Selection,
        wish: Wish,
        spool_directory: str,
        files: LayerFiles | None,
    ) -> None:
        self._root_fd = root_fd
        self._selection = selection
        self._wish = wish
        self._spool = spool_directory
        self._files = files
        self._base = posixpath.normpath(wish.destination).strip("/")

    def run(self) -> None:
        bring_near((one.tree, one.item) for one in self._selection.picked if self._may_be_archive(one))
        is_directory = self._selection.must_be_directory or self._wish.destination.endswith("/")
        is_directory = is_directory or not self._base or self._is_directory(self._base)
        if not is_directory:
            self._follow_link()
        plain: list[tuple[Picked, str]] = []
        archives: list[Picked] = []
        for one in self._selection.picked:
            if self._may_be_archive(one) and is_archive(one.tree, one.item):
                archives.append(one)
            else:
                within = is_directory or not one.single
                plain.append((one, posixpath.join(self._base, one.name) if within else self._base))
        if not self._selection.matches:
            return
        bring_near((one.tree, one.item) for one, name in plain if not self._is_there(one, name))
        self._place(_Entries(plain, self._wish), self._base if is_directory or archives else "")
        for one in archives:
            stream = PlainStream(open_file(one.tree, one.item))
            reader = TarReader(lambda stream=stream: stream.read(CHUNK_BYTES))  # type: ignore[misc]  # bound now
            self._place(reader, self._base, below=os.fsencode(self._base) or b".")

    def _may_be_archive(self, one: Picked) -> bool:
        return self._wish.unpack and one.single and not one.raw

    def _is_there(self, one: Picked, name: str) -> bool:
        """Tell whether a file's content need not be read."""
        return self._files is not None and self._files.find(os.fsencode(name), one.tree, one.item)

    def _follow_link(self) -> None:
        """Let a destination that is a link to a file mean that file, inside the root."""
        found = resolve(RootTree(self._root_fd), self._base)
        if found is not None and not found.is_directory:
            self._base = found.path

    def _is_directory(self, path: str) -> bool:
        try:
            fd = open_in_root(self._root_fd, path, os.O_PATH)
        except OSError:
            return False
        try:
            return stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def _place(self, reader: TarReader, folder: str, *, below: bytes = b"") -> None:
        """Make what a reader yields; folder is made in any case."""
        limits = DEFAULT_LIMITS
        owner = self._wish.archive_owner if below else self._wish.owner
        rules = Rules(keep_kinds=not below, owner=owner)
        with (
            Directories(self._root_fd, unnamed_limit=limits.unnamed_directories) as directories,
            DirectoryTimes(self._spool) as times,
        ):
            if folder:
                self._make_folder(directories, folder)
            folder_bytes = b"" if below == b"." else below
            placer = Placer(reader, self._root_fd, directories, times, limits, folder_bytes, rules)
            if self._files is not None and isinstance(reader, _Entries):
                placer = _FilesPlacer(
                    reader, self._root_fd, directories, times, limits, folder_bytes, rules, self._files
                )
            placer.run()
            times.apply(self._root_fd)
            self._finish_parents(directories)

    def _make_folder(self, directories: Directories, folder: str) -> None:
        try:
            directories.find_or_make(os.fsencode(folder))
        except NotADirectoryError as exc:
            raise InvalidArgument(f"cannot copy to non-directory: /{folder}") from exc

    def _finish_parents(self, directories: Directories) -> None:
        """Give directories that were made on the way their owner and mode."""
        for path in directories.unnamed - {b""}:
            fd = open_in_root(self._root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if self._wish.owner is not None:
                    os.fchown(fd, *self._wish.owner)
                if self._wish.parent_mode is not None:
                    os.fchmod(fd, self._wish.parent_mode)
            finally:
                os.close(fd)


class _Entries(TarReader):
    """Selected files as a reader yields them: names are those at the destination."""

    def __init__(self, picked: list[tuple[Picked, str]], wish: Wish) -> None:
        super().__init__(lambda: b"")
        self._picked = iter(picked)
        self._wish = wish
        self._names: dict[object, bytes] = {}
        self.current: tuple[Tree, Item] | None = None  # what was yielded last

    def next_entry(self) -> Entry | None:
        """See `TarReader`."""
        found = next(self._picked, None)
        if found is None:
            return None
        one, name = found
        entry = copy.copy(one.item.entry)
        entry.name = os.fsencode(name)
        self.current = (one.tree, one.item)
        if one.item.same is not None and not one.item.is_directory:
            first = self._names.setdefault(one.item.same, entry.name)
            if first is not entry.name:
                entry.kind, entry.linkname = headers.HARD_LINK, first
                return entry
        if self._wish.mode is not None and entry.kind != headers.SYMLINK:
            entry.mode = self._wish.mode(entry.mode, entry.kind == headers.DIRECTORY)
        return entry

    def data(self) -> Iterator[memoryview]:
        """See `TarReader`."""
        assert self.current is not None  # next_entry came before
        return self.current[0].data(self.current[1])


class _FilesPlacer(Placer):
    """Places entries, and tells `LayerFiles` where files really are: a directory may have been a link."""

    def __init__(
        self,
        reader: _Entries,
        root_fd: int,
        directories: Directories,
        times: DirectoryTimes,
        limits: Limits,
        folder: bytes,
        rules: Rules,
        files: LayerFiles,
    ) -> None:
        super().__init__(reader, root_fd, directories, times, limits, folder, rules)
        self._entries = reader
        self._files = files
        self._top = _path_of(root_fd).rstrip(b"/")

    def _make_file(self, entry: Entry, parent_fd: int, name: bytes) -> None:
        assert self._entries.current is not None  # it is being placed
        tree, item = self._entries.current
        given = entry.name
        if not is_candidate(tree, item):
            super()._make_file(entry, parent_fd, name)
            return
        path = self._real(parent_fd, name)
        if self._files.is_left_out(given):
            entry.sparse = []  # of its size, without content
        super()._make_file(entry, parent_fd, name)
        self._files.add(path, given, item)

    def _write_parts(self, fd: int, parts: list[tuple[int, int]]) -> None:
        if parts:  # to ask for the content of what is left out would have a client send it
            super()._write_parts(fd, parts)

    def _clear(self, parent_fd: int, name: bytes) -> None:
        path = self._real(parent_fd, name)
        super()._clear(parent_fd, name)  # may close the parent's descriptor
        self._files.drop(path)

    def _real(self, parent_fd: int, name: bytes) -> bytes:
        """Return where a name of an open directory is below the root."""
        folder = _path_of(parent_fd)[len(self._top) :].strip(b"/")
        return folder + b"/" + name if folder else name


def _path_of(fd: int) -> bytes:
    return os.readlink(f"/proc/self/fd/{fd}".encode())


def open_file(tree: Tree, item: Item) -> Readable:
    """Return a file of a tree, to be read in pieces."""
    return _Stream(tree, item)


@dataclass(slots=True)
class _Stream:
    """See `open_file`."""

    tree: Tree
    item: Item
    _pieces: Iterator[memoryview] | None = None
    _rest: memoryview = field(default_factory=lambda: memoryview(b""))

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end."""
        if self._pieces is None:
            self._pieces = self.tree.data(self.item)
        if not self._rest:
            self._rest = next(self._pieces, memoryview(b""))
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)


def is_archive(tree: Tree, item: Item) -> bool:
    """Tell by its content whether a file is a tar archive, plain or compressed."""
    if item.entry.kind != headers.REGULAR or item.entry.size < 20:
        return False
    try:
        stream = PlainStream(open_file(tree, item))
        block = b""
        while len(block) < BLOCK and (piece := stream.read(BLOCK - len(block))):
            block += piece
        if len(block) < BLOCK:
            return False
        headers.parse_header(block)
    except InvalidArgument:
        return False
    return True
