"""Digests of a directory's files, remembered between builds: what is as it was is not read or sent again.

One file for each directory below the data root, the 64 used last; losing one costs hashing again. A file is
what it was if its facts are: numbers that change with its content, which whoever has the directory chooses.
Files that were changed a moment before are not given to be remembered: their next change might leave the same
times (git's "racy" case); how long a moment is depends on whose clock it is.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec

from sampan import log
from sampan.kernel.files import write_atomic

_KEPT: Final = 64  # directories

Facts = tuple[int, int, int, int, int]
_FACTS: Final = struct.Struct("<5Q")
_WORD: Final = (1 << 64) - 1
_Record = bytes  # facts and digest: there may be 50,000 of them, and numbers would take three times as much
_decoder = msgspec.msgpack.Decoder(dict[str, _Record])
_encoder = msgspec.msgpack.Encoder()


class KnownDigests:
    """What is remembered of one directory."""

    def __init__(self, folder: str, name: str) -> None:
        """name: of the directory, such as its path; "" remembers nothing."""
        self._folder = folder
        self._path = f"{folder}/{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}" if name else ""
        self._records = self._read()

    def _read(self) -> dict[str, _Record]:
        if not self._path:
            return {}
        try:
            with open(self._path, "rb") as file:
                return _decoder.decode(file.read())
        except (OSError, msgspec.MsgspecError):
            return {}  # it is a cache: absent, damaged, or of another version

    def find(self, path: str, facts: Facts) -> str:
        """Return the digest of a file that is what it was, "" for others."""
        record = self._records.get(path)
        if record is None or not record.startswith(_packed(facts)):
            return ""
        return record[_FACTS.size :].hex()

    def add(self, digests: Mapping[str, tuple[Facts, str]]) -> None:
        """Remember digests beside the others."""
        if digests:
            self._write({**self._records, **_records(digests)})

    def replace(self, digests: Mapping[str, tuple[Facts, str]]) -> None:
        """Remember these digests and no others."""
        records = _records(digests)
        if records != self._records:
            self._write(records)
        elif self._path:
            with suppress(FileNotFoundError):
                os.utime(self._path)

    def forget(self) -> None:
        """Remember nothing more: something that was taken for unchanged had changed."""
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        self._path = ""

    def close(self) -> None:
        """Give the memory back; nothing is found any more."""
        self._records = {}

    def _write(self, records: dict[str, _Record]) -> None:
        self._records = records
        if not self._path:
            return
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            write_atomic(self._path, _encode(records))
            self._forget_oldest()
        except OSError as exc:
            log.warning("digests of a context's files cannot be kept", reason=exc)

    def _forget_oldest(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
        for _, path in found[:-_KEPT]:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _encode(records: dict[str, _Record]) -> bytes:
    try:
        return _encoder.encode(records)
    except UnicodeEncodeError:
        return _encoder.encode({path: one for path, one in records.items() if _can_be_written(path)})


def _records(digests: Mapping[str, tuple[Facts, str]]) -> dict[str, _Record]:
    return {path: _packed(facts) + bytes.fromhex(digest) for path, (facts, digest) in digests.items()}


def _packed(facts: Facts) -> bytes:
    try:
        return _FACTS.pack(*facts)
    except struct.error:  # a time before 1970
        return _FACTS.pack(*(fact & _WORD for fact in facts))


def _can_be_written(path: str) -> bool:
    """Tell whether a name is UTF-8; of other files nothing is remembered."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
