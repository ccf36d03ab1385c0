"""Blobs that a registry has sent a part of: `partial/<hex>`, kept over a crash for the next pull to go on.

Nothing here is trusted: whoever goes on with a file compares the whole with the digest. Files that nobody
touched in a day are removed when the store opens.
"""

from __future__ import annotations

import os
import time
from typing import Final

from sampan.ids import Digest
from sampan.store.places import Places

_KEEP_S: Final = 24 * 3600


class Partials:
    """The files of half-fetched blobs."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def path(self, digest: Digest) -> str:
        """Return where a blob's file lies or will lie."""
        return self._places.partial_blob(digest)

    def discard(self, digest: Digest) -> None:
        """Remove a file that turned out to be damaged."""
        try:
            os.unlink(self.path(digest))
        except FileNotFoundError:
            pass

    def sweep(self, *, keep_s: float = _KEEP_S) -> None:
        """Remove what is older; called when the store opens."""
        limit = time.time() - keep_s
        for entry in os.scandir(self._places.partial):
            if entry.stat(follow_symlinks=False).st_mtime < limit:
                os.unlink(entry.path)
