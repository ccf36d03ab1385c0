"""A private folder in `tmp/` where one archive is taken apart; gone when its block ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from types import TracebackType

from sampan.ids import Digest
from sampan.store.blobs import StagedBlob
from sampan.store.places import Places
from sampan.store.trees import remove_tree


class Staging:
    """Files with computed digests; use it in a `with`. Files may be moved out."""

    def __init__(self, places: Places) -> None:
        self._folder = places.new_temporary("staging")
        self._count = 0

    def __enter__(self) -> Staging:
        os.mkdir(self._folder, 0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove_tree(self._folder)

    def new_path(self) -> str:
        """A fresh path in the folder; nothing is made."""
        self._count += 1
        return f"{self._folder}/{self._count}"

    def add(self, pieces: Iterable[bytes | memoryview]) -> StagedBlob:
        """Write the pieces to a new file and hash them."""
        path = self.new_path()
        digest = hashlib.sha256()
        size = 0
        with open(path, "xb", buffering=0) as file:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                written = file.write(piece)
                while written < len(piece):
                    piece = piece[written:]
                    written = file.write(piece)
        return StagedBlob(path, Digest(f"sha256:{digest.hexdigest()}"), size)
