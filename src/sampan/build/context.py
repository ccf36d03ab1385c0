"""The context as it was sent: a tar stream, spooled to one file, indexed and hashed in the same pass.

It is never unpacked as a whole: `COPY` reads what it selects from the spool. Names that lead out are refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator

from sampan.build.index import Index
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


class Context(Index):
    """A context that was sent."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
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

    @classmethod
    def of_file(cls, name: str, pieces: Iterable[memoryview], path: str) -> Context:
        """Spool one file; see `read`."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        context = cls(fd)
        for piece in pieces:
            write_all(fd, bytes(piece))
            context.size_bytes += len(piece)
        entry = make_entry(headers.REGULAR, name)
        entry.size = entry.stored_bytes = context.size_bytes
        context.put(Item(name, entry))
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

    def children(self, path: str) -> list[Item]:
        """See `trees.Tree`."""
        return [found for name in self.names(path) if (found := self.find(name)) is not None]

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`."""
        yield memoryview(self._contents[item.path])
