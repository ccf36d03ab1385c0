"""Digests of a local context's files, by what the file system says of them: size, times, inode.

One file for each context below the data root; losing it costs hashing again. A file that changed less than a
moment before it was hashed is not remembered: its next change might leave the same times (git's "racy" case).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

_RACY_NS: Final = 100_000_000  # the kernel's clock for times of files ticks every 1 to 10 ms
_KEPT: Final = 64  # contexts


class Facts(NamedTuple):
    """What changes whenever a file's content does."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


_Record = tuple[int, int, int, int, bytes]
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
        return record[4].hex() if record is not None and record[:4] == facts else ""

    def save(self, digests: Mapping[str, tuple[Facts, str]]) -> None:
        """Remember the digests that this build has seen; what it did not look at is kept."""
        until = self._began_ns - _RACY_NS
        fresh: dict[str, _Record] = {
            path: (*facts, bytes.fromhex(digest))
            for path, (facts, digest) in digests.items()
            if max(facts.mtime_ns, facts.ctime_ns) < until
        }
        if all(self._records.get(path) == record for path, record in fresh.items()):
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
