"""`--mount=type=cache`: directories that outlive builds, by id. docs/build.md, "On disk"."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.build.host import Host
from sampan.build.instructions import Mount

_MODE = 0o755


class CacheMounts:
    """All cache mounts of one engine; thread-safe. An id becomes a name by its digest: `..` means nothing."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._alone: dict[str, threading.Lock] = {}
        self._used: set[str] = set()

    @contextmanager
    def use(self, mount: Mount) -> Iterator[str]:
        """Give a step the directory of a mount: at once, alone (`locked`), or another one (`private`)."""
        name = hashlib.sha256(mount.id.encode()).hexdigest()[:32]
        if mount.sharing == "private":
            with self._private(name) as own:
                yield self._make(own, mount)
            return
        if mount.sharing == "locked":
            with self._lock:
                lock = self._alone.setdefault(name, threading.Lock())
            with lock:
                yield self._make(name, mount)
            return
        yield self._make(name, mount)

    @contextmanager
    def _private(self, name: str) -> Iterator[str]:
        with self._lock:
            number = 0
            while (own := f"{name}-{number}" if number else name) in self._used:
                number += 1
            self._used.add(own)
        try:
            yield own
        finally:
            with self._lock:
                self._used.discard(own)

    def _make(self, name: str, mount: Mount) -> str:
        path = self._host.cache_folder(name)
        with self._lock:
            if not os.path.isdir(path):
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                os.mkdir(path, 0o700)
                os.chown(path, mount.uid or 0, mount.gid or 0)
                os.chmod(path, _MODE if mount.mode is None else mount.mode)
        return path
