"""A mount that a client asks for: one value behind `--volume`, `--mount`, `--tmpfs`, and how it is kept."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct, field

MountKind = Literal["bind", "volume", "tmpfs", "image"]
IdLine = tuple[int, int, int]  # id on disk, id seen in the container, how many

PROPAGATION: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


class IdWish(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How owners are to be seen through a mount (docs/volumes.md, "Idmapped mounts").

    Without lines the owner of the source is seen as uid and gid, None: as the container's user.
    """

    uid: int | None = None
    gid: int | None = None
    uids: tuple[IdLine, ...] = ()
    gids: tuple[IdLine, ...] = ()


class UserMount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mount that a container has or is to have, beside those every container has.

    source: a path of the host; the directory of a volume, "" until it is known; the id of an image. name:
    of a volume ("": an anonymous one is wanted), or the image as the client wrote it. options: as in
    config.json; mode: as inspect shows them. make_source: a missing source folder is made (as `-v` does);
    otherwise it is an error. anonymous: a volume that goes with its last container. declared: by VOLUME or
    `Volumes`. copy: an empty volume gets what the image has there. listed: inspect shows it. labels,
    driver_options: for a volume that is still to be made.
    """

    kind: MountKind
    source: str = ""
    target: str
    options: tuple[str, ...] = ()
    mode: str = ""
    read_only: bool = False
    propagation: str = ""
    make_source: bool = False
    name: str = ""
    driver: str = ""
    anonymous: bool = False
    declared: bool = False
    copy: bool = False
    subpath: str = ""
    ids: IdWish | None = None
    listed: bool = True
    labels: dict[str, str] = field(default_factory=dict)
    driver_options: dict[str, str] = field(default_factory=dict)


def bind_options(propagation: str, access: str, *, recursive: bool = True) -> tuple[str, ...]:
    """Return the options in config.json of a bind mount; access is "", ro or rro (with all below it).

    Not rw: that would make writable what the host has mounted read-only.
    """
    return ("rbind" if recursive else "bind", propagation or "rprivate", *((access,) if access else ()))


def read_only_view(mount: UserMount) -> UserMount:
    """Return the same mount, read-only with everything below it."""
    options = mount.options if mount.read_only else (*mount.options, "rro")
    return msgspec.structs.replace(mount, options=options, read_only=True)
