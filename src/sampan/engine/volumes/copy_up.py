"""Copy-up: an empty volume gets what the image has at the place where it is mounted. docs/volumes.md."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from sampan.engine.bundle.mount_wishes import UserMount
from sampan.engine.volumes.mounting import VolumeMounting, needs_mount
from sampan.errors import InvalidArgument, SampanError
from sampan.kernel.files import open_in_root, reopen
from sampan.store.copying import copy_attributes, copy_directory
from sampan.store.rootview import RootView
from sampan.store.snapshotters import Snapshot
from sampan.store.volumes import LOCAL, Volume, Volumes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

OpenImage = Callable[[], AbstractContextManager[int]]


class CopyUp:
    """Fills the volumes of a container that is being made; snapshot is its root, nothing in it yet.

    open_image gives the root of its image.
    """

    def __init__(
        self, kept: Volumes, mounting: VolumeMounting, snapshot: Snapshot, open_image: OpenImage
    ) -> None:
        self._open_image = open_image
        self._kept = kept
        self._mounting = mounting
        self._snapshot = snapshot

    def fill(self, mount: UserMount, volume: Volume) -> None:
        """Fill one volume if it is empty and the image has a directory there.

        Raises:
            InvalidArgument: the image has a file there.
            SampanError: it cannot be copied; the volume stays empty, unless it had to be filled in place.
        """
        if needs_mount(volume) or _is_empty(volume.path):
            with self._mounting.locked(volume.name):  # two containers may be the first at once
                self._fill_if_empty(mount, volume)

    def _fill_if_empty(self, mount: UserMount, volume: Volume) -> None:
        if not needs_mount(volume) and not _is_empty(volume.path):
            return
        with RootView(self._snapshot.lower[::-1]) as view:
            found = view.find_directory(mount.target)
            if found is None:
                _check_no_file(view, mount.target)
                return
            has_content = any(not _is_empty(fd) for fd in map(_reopened, found))
            try:
                self._fill(mount, volume, found[0], has_content=has_content)
            except OSError as exc:
                raise SampanError(
                    f"cannot copy the image's {mount.target} to volume {volume.name}: {exc.strerror}",
                    hint="nocopy leaves the volume empty",
                ) from exc

    def _fill(self, mount: UserMount, volume: Volume, highest: int, *, has_content: bool) -> None:
        if needs_mount(volume):
            with self._mounting.borrowed(volume) as path:
                if _is_empty(path):
                    self._copy(mount, volume, path)
        elif not has_content:
            with (
                _Open(reopen(highest, _DIRECTORY & ~os.O_NOFOLLOW)) as source,
                _Open(os.open(volume.path, _DIRECTORY)) as target,
            ):
                _take_attributes(source, target, volume)
        elif volume.local.quota_bytes or len(self._kept.users(volume.name)) > 1:
            self._copy(mount, volume, volume.path)
        else:
            with self._kept.staged(volume.name) as path:
                self._copy(mount, volume, path)

    def _copy(self, mount: UserMount, volume: Volume, path: str) -> None:
        with self._open_image() as root:
            with _Open(open_in_root(root, mount.target, os.O_RDONLY | os.O_DIRECTORY)) as source:
                with _Open(os.open(path, _DIRECTORY)) as target:
                    copy_directory(source, target)
                    _restore_owner(target, volume)


class _Open:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)


def _reopened(fd: int) -> int:
    return reopen(fd, _DIRECTORY & ~os.O_NOFOLLOW)


def _is_empty(place: str | int) -> bool:
    """Tell whether a directory is empty; a descriptor is closed."""
    try:
        with os.scandir(place) as entries:
            return next(entries, None) is None
    finally:
        if isinstance(place, int):
            os.close(place)


def _take_attributes(source: int, target: int, volume: Volume) -> None:
    copy_attributes(source, target)
    _restore_owner(target, volume)


def _restore_owner(target: int, volume: Volume) -> None:
    """The owner that the volume's own options name goes before the image's."""
    if volume.driver != LOCAL:
        return
    uid, gid = volume.local.uid, volume.local.gid
    if uid is not None or gid is not None:
        os.fchown(target, -1 if uid is None else uid, -1 if gid is None else gid)


def _check_no_file(view: RootView, target: str) -> None:
    if view.find_file(target) is not None:
        raise InvalidArgument(f"cannot mount volume over existing file, file exists {target}")
