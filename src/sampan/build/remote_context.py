"""A context whose files stay with the client until they are needed; docs/buildkit.md, "Files".

The client lists its files. Those that a step takes are sent, hashed and spooled when its key is made,
unless their digest is known from the build before; then they are sent only if the step has to be made, and
what is sent has to have the digest that the key was made of. What no step takes is never sent.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from sampan.build.context import Context
from sampan.build.known_digests import Facts, KnownDigests
from sampan.build.trees import Item
from sampan.errors import Conflict
from sampan.store.archive import headers

_FRESH_NS: Final = 2 * 10**9  # a file changed so lately may change again within a tick of the client's clock

Take = Callable[[int, bytes], None]  # a file's number, and its next bytes; b"" is its end


class Source(Protocol):
    """The client. Files have numbers, by their places in its list."""

    def fetch(self, numbers: Sequence[int], take: Take) -> None:
        """Have files sent; returns when all are there. Any thread; take is called by one at a time.

        Raises:
            SampanError: the client has gone.
        """
        ...


class RemoteContext(Context):
    """See the module. Close it before its source ends."""

    def __init__(
        self, items: Sequence[Item | None], source: Source, known: KnownDigests, *, spool: str
    ) -> None:
        fd = os.open(spool, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(spool)
        super().__init__(fd)
        self._source = source
        self._known = known
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._files: dict[int, Item] = {}
        self._arriving: dict[int, _Arriving] = {}
        self._there: set[int] = set()
        try:
            self._add_all(items)
        except BaseException:
            self.close()
            raise

    def _add_all(self, items: Sequence[Item | None]) -> None:
        at = 0
        for number, item in enumerate(items):
            if item is None:
                continue
            if item.entry.kind == headers.REGULAR:
                item.digest = self._known.find(item.path, _facts(item))
                item.offset = at
                at += item.entry.size
                self._files[number] = item
                self._numbers[item.path] = number
            elif item.entry.kind == headers.HARD_LINK:
                item = self._link(item)
            self.put(item)

    def _link(self, item: Item) -> Item:
        first = os.fsdecode(item.entry.linkname)
        number = self._numbers.get(first)
        if number is None:
            raise Conflict(f"the client sent {item.path!r} as a link to {first!r}, which it did not send")
        target = self._files[number]
        target.same = target.same or object()
        self._numbers[item.path] = number
        return Item(item.path, target.entry, target.digest, target.offset, target.same)

    def learn(self, items: Sequence[Item]) -> None:
        """Get the digests of files, and the content of those whose digest was not known."""
        numbers = self._numbers_of(items)
        with self._lock:
            self._fetch(sorted(number for number in numbers if not self._files[number].digest))
        for item in items:  # further names of a file are items of their own
            if item.path in self._numbers:
                item.digest = self._files[self._numbers[item.path]].digest

    def need(self, items: Sequence[Item]) -> None:
        """Get the content of files.

        Raises:
            Conflict: one has changed since it was listed.
        """
        numbers = self._numbers_of(items)
        with self._lock:
            self._fetch(sorted(numbers - self._there))

    def _numbers_of(self, items: Sequence[Item]) -> set[int]:
        return {self._numbers[item.path] for item in items if item.path in self._numbers}

    def _fetch(self, numbers: Sequence[int]) -> None:
        """Have files sent into their places in the spool; only a file's first bytes up to its listed size."""
        wanted = [number for number in numbers if self._files[number].entry.size]
        for number in set(numbers) - set(wanted):
            self._end(number, hashlib.sha256().hexdigest())
        if wanted:
            self._source.fetch(wanted, self._take)

    def _take(self, number: int, data: bytes) -> None:
        item = self._files[number]
        arriving = self._arriving.setdefault(number, _Arriving())
        if data:
            piece = data[: item.entry.size - arriving.size]
            os.pwrite(self._fd, piece, item.offset + arriving.size)
            arriving.size += len(piece)
            arriving.digest.update(piece)
            self.size_bytes += len(piece)
            return
        del self._arriving[number]
        if arriving.size < item.entry.size and not item.digest:
            item.entry.size = item.entry.stored_bytes = arriving.size  # it was cut since it was listed
        self._end(number, arriving.digest.hexdigest())

    def _end(self, number: int, digest: str) -> None:
        item = self._files[number]
        if item.digest and item.digest != digest:
            self._known.forget()
            raise Conflict(
                f"{item.path} of the build context has changed while it was being read",
                hint="build again; its digest was remembered by size and time of change",
            )
        item.digest = digest
        self._there.add(number)

    def close(self) -> None:
        """Remember digests, give the spool back, and the memory of the list; may be called twice."""
        if self._files:
            before = time.time_ns() - _FRESH_NS
            self._known.replace(
                {
                    item.path: (_facts(item), item.digest)
                    for item in self._files.values()
                    if item.digest and item.entry.mtime_ns < before
                }
            )
        super().close()
        self._known.close()
        for held in (self._items, self._names, self._files, self._numbers, self._arriving, self._there):
            held.clear()

    def ignore(self, dockerfile: str, *, everything: bool, given: bytes | None = None) -> None:
        """Do nothing: the client has left out what is ignored."""

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`."""
        self.need([item])
        return super().data(item)


def _facts(item: Item) -> Facts:
    """Return what tells that a client's file is the same, as BuildKit holds it too."""
    entry = item.entry
    return (entry.size, entry.mode, entry.uid, entry.gid, entry.mtime_ns)


class _Arriving:
    """A file on its way."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
