"""What is mounted where in a container, running or not: for inspect, lists, and copying through volumes.

`mount_points` is the answer for programs; `shown_mounts` the one that clients see.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET

from sampan.engine.bundle.mount_parsing import parse_mounts
from sampan.engine.bundle.mount_wishes import MountKind, UserMount
from sampan.engine.records import Record
from sampan.spec import docker


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One place in a container that is not its own root.

    source: a path of the host, file or directory; "" for a tmpfs, which lives in the running container only.
    subpath: what of the source is mounted, "" for all; an unsafe path, to be resolved inside the source.
    volume: the volume's name, "" for another kind. of an image, source is the image's id.
    """

    destination: str
    source: str
    kind: MountKind
    read_only: bool
    subpath: str = ""
    volume: str = ""


def user_mounts(record: Record) -> tuple[UserMount, ...]:
    """Return the mounts that a container was made with, parents first."""
    return parse_mounts(record.host) if record.mounts is None else record.mounts


def mount_points(record: Record) -> tuple[MountPoint, ...]:
    """Return what lies over a container's root, parents first: binds, volumes, tmpfs, images.

    The directory of a volume with a driver's mount holds the volume only while that is mounted:
    `VolumeMounting.borrowed` mounts it for the time of a block.
    """
    return tuple(
        MountPoint(
            destination=mount.target,
            source=mount.source,
            kind=mount.kind,
            read_only=mount.read_only,
            subpath=mount.subpath,
            volume=mount.name if mount.kind == "volume" else "",
        )
        for mount in user_mounts(record)
    )


def shown_mounts(record: Record) -> list[docker.MountPoint]:
    """Return the mounts as clients see them; tmpfs of `--tmpfs` are not listed (as Docker)."""
    return [_shown(mount) for mount in user_mounts(record) if mount.listed]


def _shown(mount: UserMount) -> docker.MountPoint:
    return docker.MountPoint(
        Type=mount.kind,
        Name=mount.name if mount.kind in ("volume", "image") else UNSET,
        Source=mount.source,
        Destination=mount.target,
        Driver=mount.driver or UNSET if mount.kind == "volume" else UNSET,
        Mode=mount.mode,
        RW=not mount.read_only,
        Propagation=mount.propagation,
    )
