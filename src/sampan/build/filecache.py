"""Digests of a local context's files, by what the file system says of them: size, times, inode.

One file for each context below the data root; losing it costs hashing again. A file that changed less than a
moment before it was hashed is not remembered: its next change might leave the same times (git's "racy" case).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from typing import Final

import msgspec

_RACY_NS: Final = 100_000_000  # the kernel's clock for times of files ticks every 1 to 10 ms
_KEPT: Final = 64  # contexts


Facts = tuple[int, int, int, int]  # size, mtime and ctime in ns, inode: one changes with the content
_Record = tuple[int, int, int, int, str]
_decoder = msgspec.msgpack.Decoder(dict[str, _Record])
_encoder = msgspec.msgpack.Encoder()


class FileCache:
    """The digests of one context."""

    def __init__(self, folder: str, name: str) -> None:
        """name: of the context, such as its path."""
        self._folder = folder
        self._path = f"{folder}/{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}"
        self._began_ns = time.time_ns()
        self._records: dict[str, _Record] = {}
        try:
            with open(self._path, "rb") as file:
                self._records = _decoder.decode(file.read())
        except (FileNotFoundError, msgspec.DecodeError):
            pass

    def find(self, path: str, facts: Facts) -> str:
        """Return the digest of a file that is what it was, "" for others."""
        record = self._records.get(path)
        return record[4] if record is not None and record[:4] == facts else ""

    def facts(self, path: str) -> Facts | None:
        """Return what was remembered of a file."""
        record = self._records.get(path)
        return record[:4] if record is not None else None

    def save(self, digests: Mapping[str, tuple[Facts, str]]) -> None:
        """Remember digests that were made; the others are kept."""
        until = self._began_ns - _RACY_NS
        fresh: dict[str, _Record] = {
            path: (*facts, digest)
            for path, (facts, digest) in digests.items()
            if max(facts[1], facts[2]) < until
        }
        if not fresh:
            return
        self._records.update(fresh)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        made = f"{self._path}.{os.urandom(4).hex()}"
        with open(made, "xb") as file:
            file.write(_encoder.encode(self._records))
        os.rename(made, self._path)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
        for _, path in found[:-_KEPT]:
            os.unlink(path)
