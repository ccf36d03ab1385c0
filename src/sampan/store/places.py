"""Where things lie below a data root (docs/architecture.md, "On disk"), and who may open it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

from sampan.errors import Unavailable
from sampan.ids import ContainerId, Digest, digest_hex


@dataclass(frozen=True, slots=True)
class Places:
    """Absolute paths below one data root."""

    root: str

    @property
    def images(self) -> str:
        """The OCI image layout."""
        return f"{self.root}/images"

    @property
    def blobs(self) -> str:
        """Blobs by the digits of their digest."""
        return f"{self.root}/images/blobs/sha256"

    @property
    def layers(self) -> str:
        """Unpacked layers by the digits of their chain id."""
        return f"{self.root}/layers"

    @property
    def links(self) -> str:
        """Short symlinks to unpacked layers."""
        return f"{self.root}/l"

    @property
    def containers(self) -> str:
        """Containers by id."""
        return f"{self.root}/containers"

    @property
    def volumes(self) -> str:
        """Volumes by name; their files lie in `_data` below."""
        return f"{self.root}/volumes"

    @property
    def temporary(self) -> str:
        """What is being made or removed."""
        return f"{self.root}/tmp"  # noqa: S108 -- not the system's

    @property
    def partial(self) -> str:
        """Blobs that a registry has sent a part of, by the digits of their digest."""
        return f"{self.root}/partial"

    @property
    def database(self) -> str:
        """The SQLite file."""
        return f"{self.root}/state.db"

    def blob(self, digest: Digest) -> str:
        """The file of a blob; the digest has been checked by its parser."""
        return f"{self.blobs}/{digest_hex(digest)}"

    def partial_blob(self, digest: Digest) -> str:
        """The file of a blob that is still on its way."""
        return f"{self.partial}/{digest_hex(digest)}"

    def layer(self, chain_id: Digest) -> str:
        """The directory of an unpacked layer; its files lie in `diff` below."""
        return f"{self.layers}/{digest_hex(chain_id)}"

    def container(self, container_id: ContainerId) -> str:
        """The directory of a container."""
        return f"{self.containers}/{container_id}"

    def make_empty_layer(self) -> str:
        """An empty directory, made if it is missing: the lowest layer of what has none."""
        path = f"{self.layers}/scratch/empty"
        if not os.path.isdir(path):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, 0o755)  # noqa: S103 -- a root's; the data root above is 0700
        return path

    def new_temporary(self, kind: str) -> str:
        """A fresh path below `temporary`; nothing is made."""
        return f"{self.temporary}/{kind}-{os.urandom(8).hex()}"


def make_places(data_root: str) -> Places:
    """Make the directories of a data root where they are missing, readable for nobody else."""
    places = Places(os.path.realpath(data_root))
    os.makedirs(places.root, mode=0o700, exist_ok=True)
    for path in (
        places.images,
        os.path.dirname(places.blobs),
        places.blobs,
        places.layers,
        places.links,
        places.containers,
        places.volumes,
        places.temporary,
        places.partial,
    ):
        os.makedirs(path, mode=0o700, exist_ok=True)
    return places


def take_lock(places: Places) -> int:
    """Return a descriptor that holds the data root's lock until it is closed, or its process ends.

    Raises:
        Unavailable: another process has it.
    """
    path = f"{places.root}/lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as exc:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise Unavailable(
            f"data root {places.root} is in use by process {holder or 'unknown'}",
            hint="stop that sampand, or give this one another --data-root",
        ) from exc
    except BaseException:
        os.close(fd)
        raise
    return fd
