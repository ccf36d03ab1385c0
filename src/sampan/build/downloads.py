"""Files that ADD fetches by HTTP: kept, and asked for again only if they have changed.

`<folder>/<digest of the URL>` is the file, `….json` beside it what its server said. A checksum that the kept
file has needs no request at all.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Final

import msgspec

from sampan.build.host import Cancel
from sampan.build.index import Index
from sampan.build.remotes import UrlSource
from sampan.build.trees import Item, make_entry
from sampan.build.urls import broken, open_url, promised_bytes
from sampan.errors import InvalidArgument, NotModified, Unavailable
from sampan.store.archive import headers

_PIECE: Final = 1 << 20
_KEPT: Final = 64


class _Facts(msgspec.Struct, frozen=True):
    url: str
    digest: str
    etag: str = ""
    modified: str = ""


class Downloads:
    """Fetched files below a folder; thread-safe."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def open(self, source: UrlSource, *, checksum: str, cancel: Cancel) -> Download:
        """Fetch a file, or find that the one here is as its server has it; the caller closes it.

        Raises:
            NotFound, Unavailable: the server says so, or does not answer. InvalidArgument: another checksum.
        """
        name = hashlib.sha256(source.url.encode()).hexdigest()[:32]
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        path = f"{self._folder}/{name}"
        with self._alone(name):
            facts = self._facts(path)
            if facts is None or not checksum or facts.digest != checksum:
                facts = self._fetch(source, path, facts, cancel)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.utime(f"{path}.json")
        if checksum and facts.digest != checksum:
            os.close(fd)
            raise InvalidArgument(f"digest mismatch sha256:{facts.digest}: sha256:{checksum} ({source.url})")
        return Download(fd, source.name, facts.digest, _seconds(facts.modified))

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._lock:
            lock = self._busy.setdefault(name, threading.Lock())
        with lock:
            yield

    @staticmethod
    def _facts(path: str) -> _Facts | None:
        try:
            with open(f"{path}.json", "rb") as file:
                facts = msgspec.json.decode(file.read(), type=_Facts)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return facts if os.path.exists(path) else None

    def _fetch(self, source: UrlSource, path: str, facts: _Facts | None, cancel: Cancel) -> _Facts:
        condition = {}
        if facts is not None and facts.etag:
            condition["If-None-Match"] = facts.etag
        elif facts is not None and facts.modified:
            condition["If-Modified-Since"] = facts.modified
        try:
            with open_url(source.url, headers=condition) as answer:
                return self._save(source, path, answer, cancel)
        except NotModified as exc:
            if facts is None:
                raise broken(source.url, exc) from exc
            return facts
        except (OSError, HTTPException) as exc:
            raise broken(source.url, exc) from exc

    def _save(self, source: UrlSource, path: str, answer: HTTPResponse, cancel: Cancel) -> _Facts:
        made = f"{path}.{os.urandom(4).hex()}"
        digest = hashlib.sha256()
        promised = promised_bytes(answer)
        try:
            size = 0
            with open(made, "xb") as file:
                while piece := answer.read(_PIECE):
                    if cancel.is_set:
                        raise InvalidArgument("the build was cancelled")
                    digest.update(piece)
                    size += file.write(piece)
            if promised is not None and promised != size:
                raise Unavailable(f"cannot fetch {source.url}: the answer broke off after {size} bytes")
            facts = _Facts(
                source.url,
                digest.hexdigest(),
                answer.headers.get("ETag", ""),
                answer.headers.get("Last-Modified", ""),
            )
            os.rename(made, path)
        except BaseException:
            os.unlink(made)
            raise
        with open(made, "xb") as file:
            file.write(msgspec.json.encode(facts))
        os.rename(made, f"{path}.json")
        self._forget_oldest()
        return facts

    def _forget_oldest(self) -> None:
        with os.scandir(self._folder) as entries:
            found = sorted(
                (entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".json")
            )
        for _, path in found[:-_KEPT]:
            for one in (path, path.removesuffix(".json")):
                if os.path.exists(one):
                    os.unlink(one)


class Download(Index):
    """One fetched file as a tree: 0600 of root, with the time that its server told."""

    def __init__(self, fd: int, name: str, digest: str, modified_s: int) -> None:
        super().__init__()
        self._fd = fd
        entry = make_entry(headers.REGULAR, name)
        entry.mode = 0o600
        entry.size = entry.stored_bytes = os.fstat(fd).st_size
        entry.mtime_ns = modified_s * 10**9
        self.put(Item(name, entry, digest))

    def data(self, item: Item) -> Iterator[memoryview]:
        """See `trees.Tree`."""
        at = 0
        while piece := os.pread(self._fd, _PIECE, at):
            at += len(piece)
            yield memoryview(piece)

    def close(self) -> None:
        """See `Index`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _seconds(modified: str) -> int:
    """Return the time of `Last-Modified`, now without one."""
    try:
        return int(parsedate_to_datetime(modified).timestamp())
    except (TypeError, ValueError):
        return int(time.time())
