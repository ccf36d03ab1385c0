"""Digests of a client's files, remembered between its builds: what has not changed need not be sent again.

One file for each directory of a client, written anew as a whole. A file is the same if size, mode, owner and
time of change are, as BuildKit holds it too; one that was changed just before it was sent is not remembered,
since it may be changed again within the same tick of its clock.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec

from sampan import log
from sampan.build.trees import Item
from sampan.kernel.files import write_atomic
from sampan.store.archive import headers

_FRESH_NS: Final = 2 * 10**9
_MOST_FILES: Final = 64  # directories that are remembered, those used last


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """One file."""

    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    digest: str


class KnownDigests:
    """What is remembered of one directory; key "" remembers nothing."""

    def __init__(self, folder: str, key: str) -> None:
        self._folder = folder
        self._path = f"{folder}/{hashlib.sha256(key.encode()).hexdigest()}" if key else ""
        self._known = self._read()

    def _read(self) -> dict[str, _Known]:
        if not self._path:
            return {}
        try:
            with open(self._path, "rb") as file:
                return msgspec.msgpack.decode(file.read(), type=dict[str, _Known])
        except (OSError, msgspec.MsgspecError):
            return {}  # it is a cache: absent, or of another version

    def digest(self, item: Item) -> str:
        """Return the digest of an unchanged file, "" for any other."""
        found = self._known.get(item.path)
        return found.digest if found is not None and found == _facts(item, found.digest) else ""

    def remember(self, items: Iterable[Item]) -> None:
        """Keep the digests of these files, and no others."""
        if not self._path:
            return
        before = time.time_ns() - _FRESH_NS
        known = {
            item.path: _facts(item, item.digest)
            for item in items
            if item.digest and item.entry.kind == headers.REGULAR and item.entry.mtime_ns < before
        }
        if known == self._known:
            with suppress(FileNotFoundError):
                os.utime(self._path)
            return
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            write_atomic(self._path, msgspec.msgpack.encode(known))
            self._limit()
        except OSError as exc:
            log.warning("digests of a client's files cannot be kept", reason=exc)

    def forget(self) -> None:
        """Remember nothing more: something that was taken for unchanged had changed."""
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        self._path = ""

    def _limit(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted(entries, key=lambda one: one.stat().st_mtime_ns)
        for entry in found[:-_MOST_FILES]:
            with suppress(FileNotFoundError):
                os.unlink(entry.path)


def _facts(item: Item, digest: str) -> _Known:
    entry = item.entry
    return _Known(entry.size, entry.mode, entry.uid, entry.gid, entry.mtime_ns, digest)
