"""The context as it was sent: a tar stream, spooled to one file, indexed and hashed in the same pass.

It is never unpacked as a whole: `COPY` reads what it selects from the spool. Names that lead out are refused.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from typing import Final

from sampan.build.ignore import parse_ignore
from sampan.build.patterns import PatternList
from sampan.build.trees import Item, make_entry
from sampan.errors import InvalidArgument
from sampan.kernel.files import write_all
from sampan.store.archive import headers
from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.archive.headers import Entry
from sampan.store.archive.limits import DEFAULT_LIMITS
from sampan.store.archive.names import clean_name
from sampan.store.archive.readable import Readable
from sampan.store.archive.reader import TarReader

_IGNORE: Final = ".dockerignore"
_MAX_DOCUMENT: Final = 8 << 20


class Context:
    """A context's files; a `trees.Tree`. Close it, or use it in a `with`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._items: dict[str, Item] = {"": Item("", make_entry(headers.DIRECTORY, ""))}
        self._names: dict[str, set[str]] = {"": set()}
        self.size_bytes = 0

    @classmethod
    def read(cls, stream: Readable, path: str) -> Context:
        """Spool a tar stream, plain or compressed, to a new file at path, whose name is gone at once.

        Raises:
            InvalidArgument: the archive is damaged, or a name leads out of it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        context = cls(fd)
        try:
            context._read(stream)
        except BaseException:
            context.close()
            raise
        return context

    def _read(self, stream: Readable) -> None:
        plain = PlainStream(stream)

        def read_chunk() -> bytes:
            chunk = plain.read(CHUNK_BYTES)
            write_all(self._fd, chunk)
            self.size_bytes += len(chunk)
            return chunk

        reader = TarReader(read_chunk)
        for entry in reader:
            self._add(reader, entry)
        while read_chunk():
            pass  # the client waits until all is taken

    def _add(self, reader: TarReader, entry: Entry) -> None:
        path = os.fsdecode(clean_name(entry.name, limit_bytes=DEFAULT_LIMITS.path_bytes))
        item = Item(path, entry, offset=reader.offset)
        if entry.kind == headers.REGULAR:
            digest = hashlib.sha256()
            for piece in reader.data():
                digest.update(piece)
            if entry.sparse is not None:
                digest.update(repr((entry.sparse, entry.size)).encode())
            item.digest = digest.hexdigest()
        elif entry.kind == headers.HARD_LINK:
            item = self._linked(entry, path)
        self.put(item)

    def _linked(self, entry: Entry, path: str) -> Item:
        target = os.fsdecode(clean_name(entry.linkname, limit_bytes=DEFAULT_LIMITS.path_bytes))
        found = self._items.get(target)
        if found is None or found.is_directory:
            raise InvalidArgument(f"context: hard link {path!r} to {target!r}, which is not there")
        found.same = found.same or object()
        return Item(path, found.entry, found.digest, found.offset, found.same)

    def put(self, item: Item) -> None:
        """Add a file, with the directories above it; a later one of the same name counts."""
        parent, _, name = item.path.rpartition("/")
        if item.path:
            if parent not in self._names:
                self.put(Item(parent, make_entry(headers.DIRECTORY, parent)))
            self._names[parent].add(name)
        if item.is_directory:
            self._names.setdefault(item.path, set())
        elif item.path in self._names:
            self.drop(item.path)
            self._names[parent].add(name)
        self._items[item.path] = item

    def drop(self, path: str) -> None:
        """Take a file or a directory with all below it away."""
        for name in sorted(self._names.pop(path, ())):
            self.drop(f"{path}/{name}")
        if self._items.pop(path, None) is not None:
            parent, _, name = path.rpartition("/")
            self._names[parent].discard(name)

    def ignore(self, dockerfile: str, *, everything: bool) -> None:
        """Apply `.dockerignore`, or the one beside the Dockerfile, to everything.

        Docker's clients have done so, but have to send these two themselves: then only they may go.
        """
        for name in (f"{dockerfile}{_IGNORE}", _IGNORE):
            raw = self.document(name)
            if raw is not None:
                patterns = parse_ignore(raw, file=name)
                if everything:
                    self._apply(patterns)
                for sent in (dockerfile, _IGNORE):
                    if patterns.matches(posixpath.normpath(sent)):
                        self.drop(posixpath.normpath(sent))
                return

    def _apply(self, patterns: PatternList) -> None:
        if not patterns:
            return
        gone = [path for path in self._items if path and patterns.matches(path)]
        for path in gone:
            item = self._items.get(path)
            if item is not None and not (item.is_directory and patterns.has_exceptions):
                self.drop(path)
        if patterns.has_exceptions:
            for path in sorted(gone, key=len, reverse=True):  # directories that hold nothing any more
                if path in self._names and not self._names[path]:
                    self.drop(path)

    def document(self, path: str) -> bytes | None:
        """Return a file's content, None if there is no such file.

        Raises:
            InvalidArgument: it is no regular file, or very large.
        """
        item = self._items.get(posixpath.normpath(path))
        if item is None:
            return None
        if item.entry.kind != headers.REGULAR or item.entry.size > _MAX_DOCUMENT:
            raise InvalidArgument(f"{path} is no regular file of at most {_MAX_DOCUMENT >> 20} MiB")
        return b"".join(bytes(piece) for piece in self.data(item))

    def find(self, path: str) -> Item | None:
        """See `trees.Tree`."""
        return self._items.get(path)

    def names(self, path: str) -> list[str]:
        """See `trees.Tree`."""
        return sorted(self._names.get(path, ()))

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`."""
        at, end = item.offset, item.offset + item.entry.stored_bytes
        while at < end:
            piece = os.pread(self._fd, min(CHUNK_BYTES, end - at), at)
            if not piece:
                raise OSError(f"the context's spool ends at {at}")
            at += len(piece)
            yield memoryview(piece)

    def close(self) -> None:
        """Give the spool back; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Documents:
    """Heredocs as a tree of files."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._contents = contents

    def find(self, path: str) -> Item | None:
        """See `trees.Tree`."""
        if not path:
            return Item("", make_entry(headers.DIRECTORY, ""))
        if path not in self._contents:
            return None
        entry = make_entry(headers.REGULAR, path)
        entry.size = entry.stored_bytes = len(self._contents[path])
        return Item(path, entry)

    def names(self, path: str) -> list[str]:
        """See `trees.Tree`."""
        return [] if path else sorted(self._contents)

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`."""
        yield memoryview(self._contents[item.path])
