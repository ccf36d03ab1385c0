"""What must stay on the disk although no record needs it (yet): counted in memory, gone with the process.

Collecting garbage and pinning exclude each other, so whoever pins first and looks after it may rely on
what it sees.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sampan.ids import Digest


class Pins:
    """Digests in use, of blobs and of chains; thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # held by the collector from looking to removing
        self._counts: Counter[Digest] = Counter()

    def __contains__(self, digest: Digest) -> bool:
        return self._counts[digest] > 0

    def add(self, digests: Iterable[Digest]) -> None:
        """Pin each digest once more."""
        with self.lock:
            self._counts.update(digests)

    def drop(self, digests: Iterable[Digest]) -> None:
        """Undo one `add`."""
        with self.lock:
            for digest in digests:
                self._counts[digest] -= 1
                if self._counts[digest] <= 0:
                    del self._counts[digest]

    @contextmanager
    def held(self, digests: Iterable[Digest]) -> Iterator[None]:
        """Pin for the time of a block."""
        kept = list(digests)
        self.add(kept)
        try:
            yield
        finally:
            self.drop(kept)
