"""A context's files by name, and what `.dockerignore` takes away.

Who has the bytes, a subclass says: a spool (`context`), a directory in place, or a client over its session.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from sampan.build.ignore import parse_ignore
from sampan.build.patterns import PatternList
from sampan.build.trees import Item, make_entry, resolve
from sampan.errors import InvalidArgument
from sampan.store.archive import headers

IGNORE: Final = ".dockerignore"
_MAX_DOCUMENT: Final = 8 << 20


class Index:
    """Files by path; a `trees.Tree`. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {"": Item("", make_entry(headers.DIRECTORY, ""))}
        self._names: dict[str, set[str]] = {"": set()}

    def put(self, item: Item) -> None:
        """Add a file, with the directories above it; a later one of the same name counts.

        Raises:
            InvalidArgument: the whole context would be something else than a directory.
        """
        if not (item.path or item.is_directory):
            raise InvalidArgument("context: its root is no directory")
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
        for name in self.names(path):
            self.drop(f"{path}/{name}")
        self._names.pop(path, None)
        if self._items.pop(path, None) is not None:
            parent, _, name = path.rpartition("/")
            self._names[parent].discard(name)

    def ignore(self, dockerfile: str, *, everything: bool, given: bytes | None = None) -> None:
        """Apply `.dockerignore` (given, or the one beside the Dockerfile) to everything.

        Docker's clients have done so, but have to send these two themselves: then only they may go.
        """
        for name in (f"{dockerfile}{IGNORE}", IGNORE):
            raw = self.document(name) if given is None else given
            if raw is not None:
                patterns = parse_ignore(raw, file=name)
                if everything:
                    self._apply(patterns)
                for sent in (dockerfile, IGNORE):
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
        item = resolve(self, posixpath.normpath(path))
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

    def children(self, path: str) -> list[Item]:
        """See `trees.Tree`."""
        return [self._items[f"{path}/{name}" if path else name] for name in self.names(path)]

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what is held; may be called twice."""

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
