"""The mounts of a container that is being made: gathered, then given their volumes and images.

Source: moby, daemon/volumes.go (registerMountPoints) for order and precedence; docs/volumes.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sampan.engine.bundle.mount_parsing import check_target, parse_mounts, sort_mounts
from sampan.engine.bundle.mount_wishes import UserMount, bind_options, read_only_view
from sampan.engine.core import Core
from sampan.engine.images.layer_views import open_image_root
from sampan.engine.records import Record
from sampan.engine.volumes.copy_up import CopyUp
from sampan.engine.volumes.mount_points import user_mounts
from sampan.errors import InvalidArgument, NotFound
from sampan.spec import docker
from sampan.store.snapshotters import Snapshot
from sampan.store.volumes import LOCAL, Volume


def gather_mounts(
    core: Core, config: docker.Config, host: docker.HostConfig, *, image_volumes: Iterable[str]
) -> tuple[UserMount, ...]:
    """Return what a container is to have mounted, parents first; config is merged with the image's.

    Raises:
        InvalidArgument: a bad entry, two at one place, no such container to take volumes from.
    """
    own = {mount.target: mount for mount in parse_mounts(host)}
    inherited: dict[str, UserMount] = {}
    for text in host.VolumesFrom:
        inherited |= {mount.target: mount for mount in _volumes_from(core, text)}
    mounts = inherited | own
    of_image = set(image_volumes)
    for place in config.Volumes:
        driver = LOCAL if place in of_image else host.VolumeDriver
        mount = _declared(place, driver, lenient=place in of_image)
        mounts.setdefault(mount.target, mount)
    return sort_mounts(list(mounts.values()))


def _volumes_from(core: Core, text: str) -> list[UserMount]:
    """Return the mounts of another container, as `container[:ro|rw]` wants them."""
    ref, colon, mode = text.partition(":")
    if not ref:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    words = mode.split(",") if colon and mode else []
    if set(words) - {"ro", "rw", "z", "Z"} or {"ro", "rw"} <= set(words):
        raise InvalidArgument(f"invalid mode: {mode}")
    try:
        giver = core.index.get(ref).record
    except NotFound as exc:  # a 404 would make the docker command pull the image and try again
        raise InvalidArgument(str(exc)) from exc
    found = []
    for mount in user_mounts(giver):
        if mount.kind == "tmpfs":
            continue
        taken = msgspec.structs.replace(mount, copy=False, make_source=False)
        found.append(read_only_view(taken) if "ro" in words else taken)
    return found


def _declared(place: str, driver: str, *, lenient: bool) -> UserMount:
    """Return the anonymous volume of one entry of `Volumes`; an image's may lack the leading slash."""
    target = check_target(f"/{place}" if lenient else place, f"invalid volume specification: '{place}'")
    return UserMount(
        kind="volume",
        target=target,
        options=bind_options("", ""),
        driver=driver,
        anonymous=True,
        declared=True,
        copy=True,
    )


class MountMaker:
    """Gives the mounts of one container their volumes and images, and fills the volumes."""

    def __init__(self, core: Core, record: Record, snapshot: Snapshot) -> None:
        self._core = core
        self._record = record
        self._copying = CopyUp(
            core.store.volumes, core.volumes.mounting, snapshot, lambda: open_image_root(core, snapshot)
        )

    def make(self) -> tuple[UserMount, ...]:
        """Return the mounts as they are kept. What was made is undone by `undo_mounts`.

        Raises:
            SampanError: a volume or image cannot be had, or a volume cannot be filled.
        """
        try:
            return tuple(self._make(mount) for mount in self._record.mounts or ())
        except NotFound as exc:  # an image or a driver; as above
            raise InvalidArgument(str(exc), hint=exc.hint) from exc

    def _make(self, mount: UserMount) -> UserMount:
        if mount.kind == "volume":
            return self._make_volume(mount)
        return self._hold_image(mount) if mount.kind == "image" else mount

    def _make_volume(self, mount: UserMount) -> UserMount:
        volume = self._core.volumes.make(
            mount.name,
            driver=mount.driver,
            labels=mount.labels,
            options=mount.driver_options,
            user=self._record.id,
        )
        if mount.copy and (volume.driver == LOCAL or not mount.declared):
            self._copying.fill(mount, volume)
        return msgspec.structs.replace(
            mount,
            name=volume.name,
            driver=volume.driver,
            source=self._core.volumes.mounting.path(volume),
            mode=mount.mode or _shown_mode(mount, volume),
            labels={},
            driver_options={},
        )

    def _hold_image(self, mount: UserMount) -> UserMount:
        if mount.source:  # of another container
            image = self._core.store.images.resolve(mount.source)
        else:
            image = self._core.store.images.resolve(mount.name)
        self._core.store.image_mounts.hold(self._record.id, image)
        return msgspec.structs.replace(mount, source=str(image.id))


def _shown_mode(mount: UserMount, volume: Volume) -> str:
    """Docker's inspect shows `z` for a local volume that was asked for without a mode."""
    return "z" if volume.driver == LOCAL and not mount.declared else ""


def undo_mounts(core: Core, container_id: str) -> None:
    """A container was not made after all: give up its images, and remove the volumes made for it."""
    core.store.image_mounts.release(container_id)
    for volume in core.store.volumes.undo_making(container_id):
        core.volumes.finish_removal(volume)
