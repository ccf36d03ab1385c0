"""Blobs that arrive in pieces, over any time: `uploads/<id>/data`, and `repository` beside it.

A piece that was acknowledged is in the file, so an upload goes on after kill -9; its hash is then made anew
from the file. Not synced before the end: after a power cut the digest tells. An upload has one writer at a
time, which the caller sees to. What nobody touched for long, or a crash left half made, is swept.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import Final

from sampan.errors import InvalidArgument, NotFound
from sampan.ids import Digest
from sampan.kernel.files import write_all
from sampan.store.blobs import StagedBlob
from sampan.store.content_names import ContentName
from sampan.store.places import Places
from sampan.store.trees import remove_tree

_ID: Final = re.compile(r"[0-9a-f]{32}")
_PIECE: Final = 1 << 20


class Upload:
    """One upload. `size_bytes` is what has come so far."""

    def __init__(self, folder: str, repository: str) -> None:
        self.id = os.path.basename(folder)
        self.folder = folder
        self.repository = repository
        self.path = f"{folder}/data"
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0
        self.size_bytes = os.stat(self.path).st_size

    def append(self, fd: int, piece: bytes | bytearray) -> None:
        """Write a piece to fd, which `open` gave, and hash it.

        Raises:
            OSError: the disk is full; what was not written has not come.
        """
        try:
            write_all(fd, piece)
        except OSError:
            os.ftruncate(fd, self.size_bytes)
            raise
        self.size_bytes += len(piece)
        if self._hashed_bytes == self.size_bytes - len(piece):
            self._hash.update(piece)
            self._hashed_bytes = self.size_bytes

    def open(self) -> int:
        """Open the file for `append`; the caller closes it."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def stage(self, name: ContentName) -> StagedBlob:
        """Return the whole content, if that is its digest.

        Raises:
            InvalidArgument: it has another.
        """
        if self._hashed_bytes != self.size_bytes:
            self._hash, self._hashed_bytes = self._hash_file("sha256"), self.size_bytes
        algorithm, _, digits = name.partition(":")
        own = self._hash if algorithm == "sha256" else self._hash_file(algorithm)
        if own.hexdigest() != digits:
            raise InvalidArgument(f"content has the digest {algorithm}:{own.hexdigest()}, not {name}")
        return StagedBlob(self.path, Digest(f"sha256:{self._hash.hexdigest()}"), self.size_bytes)

    def _hash_file(self, algorithm: str) -> hashlib._Hash:
        found = hashlib.new(algorithm)
        with open(self.path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                found.update(piece)
        return found


class Uploads:
    """All uploads of a store; those that this process has met keep their hash in memory."""

    def __init__(self, places: Places) -> None:
        self._folder = f"{places.root}/uploads"
        self._known: dict[str, Upload] = {}

    def begin(self, repository: str) -> Upload:
        """Make an empty upload."""
        folder = f"{self._folder}/{os.urandom(16).hex()}"
        os.makedirs(folder, mode=0o700)
        with open(f"{folder}/data", "xb"):
            pass
        with open(f"{folder}/repository", "x", encoding="ascii") as file:
            file.write(repository)
        return self._known.setdefault(os.path.basename(folder), Upload(folder, repository))

    def get(self, repository: str, raw_id: str) -> Upload:
        """Return an upload of a repository.

        Raises:
            NotFound: there is none of that name, or it is finished.
        """
        upload = self._known.get(raw_id) or self._reopen(raw_id)
        if upload is None or upload.repository != repository:
            raise NotFound(f"there is no upload {raw_id[:64]!r} to {repository}")
        return upload

    def _reopen(self, raw_id: str) -> Upload | None:
        if _ID.fullmatch(raw_id) is None:
            return None
        folder = f"{self._folder}/{raw_id}"
        try:
            with open(f"{folder}/repository", encoding="ascii") as file:
                return self._known.setdefault(raw_id, Upload(folder, file.read()))
        except FileNotFoundError:
            return None

    def remove(self, upload: Upload) -> None:
        """Forget an upload, finished or not, with what is left of it."""
        self._known.pop(upload.id, None)
        remove_tree(upload.folder)

    def sweep(self, *, older_than_s: float) -> int:
        """Remove uploads that nobody touched for so long; return how many."""
        limit = time.time() - older_than_s
        swept = 0
        for name in _names(self._folder):
            folder = f"{self._folder}/{name}"
            if _touched(folder) < limit:
                self._known.pop(name, None)
                remove_tree(folder)
                swept += 1
        return swept


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _touched(folder: str) -> float:
    for path in (f"{folder}/data", folder):
        try:
            return os.stat(path).st_mtime
        except FileNotFoundError:
            continue
    return time.time()  # it has just been finished
