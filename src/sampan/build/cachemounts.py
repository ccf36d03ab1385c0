"""`--mount=type=cache`: directories that outlive builds, by id. docs/build.md, "On disk"."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sampan.build.host import Host
from sampan.build.instructions import Mount
from sampan.errors import NotFound
from sampan.store.trees import remove_tree, tree_size

_MODE = 0o755


@dataclass(frozen=True, slots=True)
class CacheMount:
    """One cache mount on the disk. private: the number of a further one that a private use made, else 0."""

    id: str
    path: str
    private: int
    in_use: bool
    created_ns: int
    used_ns: int

    @property
    def size_bytes(self) -> int:
        """The bytes of its files, counted when asked for."""
        return tree_size(self.path)


@dataclass(frozen=True, slots=True)
class Seed:
    """What a cache mount begins with (`from`). fill: writes it into an empty directory."""

    digest: str
    fill: Callable[[str], None]


class CacheMounts:
    """All cache mounts of one engine; thread-safe. An id becomes a name by its digest: `..` means nothing.

    Beside each directory lies `<name>.id`, which holds its id; its times are those of the mount.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._alone: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()

    @contextmanager
    def use(self, mount: Mount, seed: Seed | None = None) -> Iterator[str]:
        """Give a step the directory of a mount: at once, alone (`locked`), or another one (`private`).

        One that begins with something is another one than that of its id alone, or with anything else.
        """
        if seed is not None:
            mount = replace(mount, id=f"{mount.id}@{seed.digest.rpartition(':')[2][:12]}")
        name = _name_of(mount.id)
        if mount.sharing == "private":
            with self._in_use(name, alone=True) as own:
                yield self._make(own, mount, seed)
            return
        with self._in_use(name):
            if mount.sharing == "locked":
                with self._lock:
                    lock = self._alone.setdefault(name, threading.Lock())
                with lock:
                    yield self._make(name, mount, seed)
                return
            yield self._make(name, mount, seed)

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

    def _make(self, name: str, mount: Mount, seed: Seed | None = None) -> str:
        path = self._host.cache_folder(name)
        made = ""
        if not os.path.isdir(path):  # filling it may take a while: beside, and without the lock
            made = f"{self._host.temporary}/cache-{os.urandom(8).hex()}"
            os.mkdir(made, 0o700)
        try:
            if made:
                if seed is not None:
                    seed.fill(made)
                os.chown(made, mount.uid or 0, mount.gid or 0)
                os.chmod(made, _MODE if mount.mode is None else mount.mode)
            with self._lock:
                if made and not os.path.isdir(path):
                    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                    os.rename(made, path)
                    made = ""
                _note(path, mount.id)
        finally:
            if made:
                remove_tree(made)
        return path

    def all(self) -> list[CacheMount]:
        """Return every cache mount, the one used last first."""
        folder = self._host.cache_folder("")
        names = [name for name in os.listdir(folder) if "." not in name] if os.path.isdir(folder) else []
        found = [one for name in names if (one := self._describe(f"{folder}{name}", name))]
        return sorted(found, key=lambda one: -one.used_ns)

    def _describe(self, path: str, name: str) -> CacheMount | None:
        """Return what is known of a directory, None if it has been removed meanwhile."""
        try:
            created_ns = os.stat(path).st_ctime_ns
        except FileNotFoundError:
            return None
        try:
            with open(f"{path}.id", encoding="utf-8", errors="surrogateescape") as file:
                mount_id = file.read()
                used_ns = os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:  # of an earlier version
            mount_id, used_ns = name, created_ns
        _, _, number = name.partition("-")
        return CacheMount(
            mount_id, path, int(number or 0), bool(self._users[name]), min(created_ns, used_ns), used_ns
        )

    def get(self, mount_id: str) -> CacheMount:
        """Return a cache mount.

        Raises:
            NotFound: there is none of that id.
        """
        for one in self.all():
            if one.id == mount_id and not one.private:
                return one
        raise NotFound(f"no cache mount {mount_id!r}", hint="sampan builder cache ls")

    @contextmanager
    def filled(self, mount_id: str) -> Iterator[str]:
        """Give the directory of a mount to be filled; made if it is missing, and not pruned meanwhile."""
        with self._in_use(_name_of(mount_id)) as name:
            yield self._make(name, Mount(kind="cache", id=mount_id))

    def remove(self, mount: CacheMount) -> bool:
        """Remove a cache mount, unless a step uses it."""
        name = os.path.basename(mount.path)
        doomed = f"{self._host.temporary}/cache-{os.urandom(8).hex()}"
        with self._lock:
            if self._users[name]:
                return False
            try:  # removing a large tree takes a while; a crash leaves it to the next start
                os.rename(mount.path, doomed)
                os.unlink(f"{mount.path}.id")
            except FileNotFoundError:
                pass
        remove_tree(doomed)
        return True


def _name_of(mount_id: str) -> str:
    return hashlib.sha256(os.fsencode(mount_id)).hexdigest()[:32]


def _note(path: str, mount_id: str) -> None:
    """Write a mount's id beside it, or that it is used now."""
    try:
        os.utime(f"{path}.id")
    except FileNotFoundError:
        with open(f"{path}.id", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(mount_id)
