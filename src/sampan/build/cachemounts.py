"""`--mount=type=cache`: directories that outlive builds, by id. docs/build.md, "On disk"."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sampan.build.host import Host
from sampan.build.instructions import Mount
from sampan.store.trees import remove_tree, tree_size

_MODE = 0o755


class CacheMounts:
    """All cache mounts of one engine; thread-safe. An id becomes a name by its digest: `..` means nothing."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._alone: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextmanager
    def use(self, mount: Mount) -> Iterator[str]:
        """Give a step the directory of a mount: at once, alone (`locked`), or another one (`private`)."""
        name = hashlib.sha256(mount.id.encode()).hexdigest()[:32]
        if mount.sharing == "private":
            with self._in_use(name, alone=True) as own:
                yield self._make(own, mount)
            return
        with self._in_use(name):
            if mount.sharing == "locked":
                with self._lock:
                    lock = self._alone.setdefault(name, threading.Lock())
                with lock:
                    yield self._make(name, mount)
                return
            yield self._make(name, mount)

    @contextmanager
    def _in_use(self, name: str, *, alone: bool = False) -> Iterator[str]:
        """Keep a directory from being pruned; alone: the first of its name that nobody uses."""
        with self._lock:
            number, own = 0, name
            while alone and self._users[own]:
                number += 1
                own = f"{name}-{number}"
            self._users[own] += 1
        try:
            yield own
        finally:
            with self._lock:
                self._users[own] -= 1

    def prune(self, wanted: Callable[[int], bool]) -> dict[str, int]:
        """Remove the directories that no step uses; return their bytes by name.

        wanted: asked with the time of a directory's last change.
        """
        removed = {}
        for name in self._names():
            doomed = f"{self._host.temporary}/cache-{os.urandom(8).hex()}"
            path = self._host.cache_folder(name)
            with self._lock:
                if self._users[name] or not wanted(os.stat(path).st_mtime_ns):
                    continue
                os.rename(
                    path, doomed
                )  # removing a large tree takes a while; a crash leaves it to the next start
            removed[name] = tree_size(doomed)
            remove_tree(doomed)
        return removed

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._host.cache_folder("")))
        except FileNotFoundError:
            return []

    def _make(self, name: str, mount: Mount) -> str:
        path = self._host.cache_folder(name)
        with self._lock:
            if not os.path.isdir(path):
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                os.mkdir(path, 0o700)
                os.chown(path, mount.uid or 0, mount.gid or 0)
                os.chmod(path, _MODE if mount.mode is None else mount.mode)
        return path
