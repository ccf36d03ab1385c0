"""Volumes that have to be mounted before use: with the first running container, until the last one ends.

A plain volume is a directory and needs nothing. The other kinds are a mount that the options of a local
volume ask for, and a volume of a plugin, which is told of each user. Users are counted in memory: after a
restart the running containers say who they are (`restore`), and what nobody uses is unmounted (`sweep`).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from sampan import log
from sampan.engine.workers import Worker
from sampan.errors import NotFound, SampanError
from sampan.ids import new_container_id
from sampan.plugins.calling import Plugins
from sampan.plugins.volumes import KIND, VolumePlugin
from sampan.store.volume_mounts import is_mounted, mount_volume, unmount_volume
from sampan.store.volumes import LOCAL, Volume, Volumes

_SETTLE_S: Final = 60.0


def needs_mount(volume: Volume) -> bool:
    """Tell whether a volume is more than a directory."""
    return volume.driver != LOCAL or volume.local.mount is not None


class VolumeMounting:
    """Who uses which volume now; thread-safe. One lock a volume: a slow mount keeps no other one waiting."""

    def __init__(self, volumes: Volumes, plugins: Plugins) -> None:
        self._volumes = volumes
        self._plugins = plugins
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._users: defaultdict[str, set[str]] = defaultdict(set)
        self._paths: dict[str, str] = {}
        self._used: dict[
            str, Volume
        ] = {}  # those with users: a release may come when the row is gone already
        self._worker = Worker("volumes")

    def plugin(self, driver: str) -> VolumePlugin:
        """Return a volume plugin, activated.

        Raises:
            NotFound: there is none of that name. Unavailable: it does not answer.
        """
        try:
            return VolumePlugin(self._plugins.get(driver, KIND))
        except NotFound as exc:
            raise NotFound(f"error looking up volume plugin {driver}: {exc}") from exc

    def plugin_names(self) -> list[str]:
        """Return the names of plugins that may keep volumes."""
        return self._plugins.names()

    def acquire(self, volume: Volume, user: str) -> str:
        """Make a volume usable for a user, and return where its files are. Once for each user.

        Raises:
            SampanError: it cannot be mounted.
        """
        if not needs_mount(volume):
            return volume.path
        with self._lock(volume.name):
            if volume.driver != LOCAL:
                path = self._mount_by_plugin(volume, user)
            else:
                path = volume.path
                wanted = volume.local.mount
                assert wanted is not None, "it needs a mount"
                if not is_mounted(path):
                    mount_volume(path, wanted)
            self._users[volume.name].add(user)
            self._used[volume.name] = volume
        return path

    def _mount_by_plugin(self, volume: Volume, user: str) -> str:
        if user in self._users[volume.name] and volume.name in self._paths:
            return self._paths[volume.name]
        try:
            path = self.plugin(volume.driver).mount(volume.name, user)
        except SampanError as exc:
            raise type(exc)(f"error while mounting volume '{volume.name}': {exc}", hint=exc.hint) from exc
        self._paths[volume.name] = path
        return path

    def release(self, name: str, user: str) -> None:
        """A user needs a volume no more; nothing happens if it never had it. What fails is logged."""
        with self._lock(name):
            users = self._users[name]
            if user not in users:
                return
            users.discard(user)
            volume = self._used[name]
            try:
                if volume.driver != LOCAL:
                    self.plugin(volume.driver).unmount(name, user)
                elif not users:
                    unmount_volume(volume.path)
            except (OSError, SampanError) as exc:
                log.warning("volume cannot be unmounted", volume=name, user=user, reason=exc)

    def release_soon(self, names: list[str], user: str) -> None:
        """Release behind the user's back; `settle` waits for it."""
        for name in names:
            if user in self._users.get(name, ()):
                self._worker.submit(partial(self.release, name, user))

    def settle(self) -> None:
        """Wait until what was released is unmounted, so that the same user may have it again."""
        self._worker.drain(_SETTLE_S)

    @contextmanager
    def borrowed(self, volume: Volume) -> Iterator[str]:
        """Have a volume mounted for the time of a block, and yield where its files are."""
        user = str(new_container_id())
        path = self.acquire(volume, user)
        try:
            yield path
        finally:
            self.release(volume.name, user)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep others from mounting, unmounting and filling a volume for the time of a block."""
        with self._lock(name):
            yield

    def path(self, volume: Volume) -> str:
        """Return where a volume's files are or would be, "" if only its plugin will know."""
        return volume.path or self._paths.get(volume.name, "")

    def restore(self, name: str, user: str, path: str) -> None:
        """A container was found running: it uses a volume, which is mounted already."""
        volume = self._volumes.find(name)
        if volume is not None and needs_mount(volume):
            self._users[name].add(user)
            self._used[name] = volume
            self._paths.setdefault(name, path)

    def retire(self, volume: Volume) -> None:
        """Let go of a volume that is to be removed: what was released is unmounted first."""
        if needs_mount(volume):
            self.settle()
            if volume.driver == LOCAL:
                with self._lock(volume.name):
                    unmount_volume(volume.path)

    def sweep(self) -> None:
        """Unmount local volumes that no container uses: what a crash left."""
        for volume in self._volumes.list():
            if volume.driver == LOCAL and needs_mount(volume) and not self._users.get(volume.name):
                try:
                    unmount_volume(volume.path)
                except OSError as exc:
                    log.warning("volume cannot be unmounted", volume=volume.name, reason=exc)

    def close(self, timeout_s: float) -> None:
        """Finish what was released and end the thread; what is in use stays mounted."""
        self._worker.close(timeout_s)

    def _lock(self, name: str) -> threading.RLock:
        with self._guard:
            return self._locks[name]
