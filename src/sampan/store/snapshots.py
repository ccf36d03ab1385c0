"""Root file systems of containers: lower directories, an upper and a work directory (overlayfs).

Lays out directories and records which layers are in use; mounting is the runtime's (`RootMount`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sampan.ids import ContainerId
from sampan.store.model import Image

# Plain upper directories that can become a layer as they lie: no renames or data hidden in overlay's own
# attributes. As Docker and containerd mount them where the kernel's defaults differ.
OVERLAY_OPTIONS: Final = ("index=off", "redirect_dir=off", "metacopy=off")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a container's root is made of; all paths are absolute."""

    lower: tuple[str, ...]  # lowest first, the init layer last
    upper: str
    work: str
    root: str  # an empty directory to mount on
    options: tuple[str, ...] = OVERLAY_OPTIONS


class Snapshots:
    """Snapshots by container id; thread-safe."""

    def prepare(self, container_id: ContainerId, image: Image | None) -> Snapshot:
        """Make the directories of a container's root; None is an empty root (mount points only).

        The image's layers stay on the disk until `remove`, whatever happens to the image.

        Raises:
            Conflict: the container has a snapshot.
        """
        raise NotImplementedError

    def get(self, container_id: ContainerId) -> Snapshot:
        """Return an existing snapshot, for a start after a restart.

        Raises:
            NotFound: there is none.
        """
        raise NotImplementedError

    def remove(self, container_id: ContainerId) -> None:
        """Delete a container's directory with everything in it; nothing happens if there is none.

        Raises:
            Conflict: something is still mounted inside.
        """
        raise NotImplementedError

    def usage(self, container_id: ContainerId) -> int:
        """Return the bytes that the container's own files take (the API's SizeRw)."""
        raise NotImplementedError

    def read_file(self, container_id: ContainerId, unsafe_path: str) -> bytes | None:
        """Return a regular file of at most 10 MiB from the container's root, without mounting it.

        For /etc/passwd and /etc/group of a container that does not run. Links are followed inside the root,
        whiteouts are honoured, volumes are not seen. None if there is no such file.

        Raises:
            InvalidArgument: it is no regular file, too large, or behind too many links.
        """
        raise NotImplementedError

    def sweep(self, known_ids: Collection[ContainerId]) -> list[ContainerId]:
        """Remove the snapshots of all other containers; return their ids. For the engine's start."""
        raise NotImplementedError
