"""The mounts of a container that starts: volumes mounted, sources checked, owners looked up."""

from __future__ import annotations

import os

import msgspec

from sampan.engine.bundle.idmaps import plan_maps
from sampan.engine.bundle.mount_wishes import IdWish, UserMount
from sampan.engine.core import Core
from sampan.engine.files.users import User
from sampan.engine.observing.events import make_event
from sampan.engine.records import Record
from sampan.engine.volumes.mount_points import user_mounts
from sampan.engine.volumes.mounting import needs_mount
from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.mountinfo import read_mountinfo
from sampan.spec import docker


def prepare_mounts(core: Core, record: Record, *, user: User) -> tuple[UserMount, ...]:
    """Return the mounts as config.json has them; `release_mounts` lets the volumes go again.

    Raises:
        InvalidArgument: a source is missing. SampanError: a volume cannot be mounted.
        Unsupported: what the container's runtime cannot do.
    """
    return tuple(_prepare(core, record, mount, user) for mount in user_mounts(record))


def _prepare(core: Core, record: Record, mount: UserMount, user: User) -> UserMount:
    match mount.kind:
        case "volume":
            mount = _with_volume(core, record, mount)
        case "image":
            mount = _with_image(core, record, mount)
        case "bind":
            check_source(mount)
            make_source(mount)
            _check_propagation(mount)
    return mount if mount.ids is None else _with_owners(mount, user)


def _with_volume(core: Core, record: Record, mount: UserMount) -> UserMount:
    if mount.subpath and core.runtimes.command(record.runtime) is not None:
        raise Unsupported(f"not supported yet: a volume's subpath with the runtime {record.runtime}")
    volume = core.volumes.get(mount.name)
    if needs_mount(volume):
        core.volumes.mounting.settle()
    return msgspec.structs.replace(mount, source=core.volumes.mounting.acquire(volume, record.id))


def _with_image(core: Core, record: Record, mount: UserMount) -> UserMount:
    held = core.store.image_mounts
    if mount.subpath and (path := held.file(record.id, mount.source, mount.subpath)) is not None:
        return msgspec.structs.replace(mount, kind="bind", source=path, options=("bind", "rprivate", "ro"))
    lower = held.lower(record.id, mount.source, mount.subpath)
    options = (f"lowerdir={':'.join(reversed(lower))}", "ro", "rprivate")
    return msgspec.structs.replace(mount, source="overlay", options=options)


def _with_owners(mount: UserMount, user: User) -> UserMount:
    wish = mount.ids or IdWish()
    status = os.stat(mount.source)
    uids, gids = plan_maps(wish, owner=(status.st_uid, status.st_gid), user=(user.uid, user.gid))
    return msgspec.structs.replace(mount, ids=IdWish(uids=uids, gids=gids))


def check_source(mount: UserMount) -> None:
    """Refuse a bind of what is not there, unless the missing folder is to be made.

    Raises:
        InvalidArgument: in Docker's words.
    """
    if mount.kind == "bind" and not mount.make_source and not os.path.lexists(mount.source):
        raise InvalidArgument(
            f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
        )


def make_source(mount: UserMount) -> None:
    """Make the missing source folder of `-v`, as Docker does: root's, 0755. It stays.

    Raises:
        InvalidArgument: the folder cannot be made.
    """
    if mount.kind != "bind" or not mount.make_source:
        return
    try:
        os.makedirs(mount.source, mode=0o755, exist_ok=True)
    except FileExistsError:
        pass  # a file, a device, a socket: bound as it is
    except OSError as exc:
        raise InvalidArgument(f"cannot make bind source {mount.source}: {exc.strerror}") from exc


def _check_propagation(mount: UserMount) -> None:
    """Refuse to hear of mounts, or to pass them on, where nothing ever would come.

    Raises:
        InvalidArgument: in Docker's words.
    """
    wanted = mount.propagation.removeprefix("r")
    if wanted not in ("shared", "slave"):
        return
    path = os.path.realpath(mount.source)
    above = [one for one in read_mountinfo() if _is_below(path, one.mount_point)]
    found = max(reversed(above), key=lambda one: len(one.mount_point))  # of several at one place, the last
    kinds = {tag.partition(":")[0] for tag in found.propagation}
    if "shared" in kinds or (wanted == "slave" and "master" in kinds):
        return
    kind = "shared" if wanted == "shared" else "shared or slave"
    raise InvalidArgument(
        f"path {mount.source} is mounted on {found.mount_point} but it is not a {kind} mount"
    )


def _is_below(path: str, folder: str) -> bool:
    return folder == "/" or path == folder or path.startswith(f"{folder}/")


def volume_names(record: Record) -> list[str]:
    """Return the names of a container's volumes, each once."""
    return list(dict.fromkeys(mount.name for mount in user_mounts(record) if mount.kind == "volume"))


def release_mounts(core: Core, record: Record) -> None:
    """A start failed: let the volumes go that were mounted for it."""
    for name in volume_names(record):
        core.volumes.mounting.release(name, record.id)


def mount_events(record: Record) -> list[docker.Event]:
    """Return an event for each volume that a container has just been started with."""
    return [
        make_event(
            "volume",
            "mount",
            mount.name,
            {
                "container": record.id,
                "destination": mount.target,
                "driver": mount.driver,
                "propagation": mount.propagation,
                "read/write": "false" if mount.read_only else "true",
            },
        )
        for mount in user_mounts(record)
        if mount.kind == "volume"
    ]


def unmount_events(record: Record) -> list[docker.Event]:
    """Return an event for each volume that a container has just ended with."""
    return [
        make_event("volume", "unmount", mount.name, {"container": record.id, "driver": mount.driver})
        for mount in user_mounts(record)
        if mount.kind == "volume"
    ]
