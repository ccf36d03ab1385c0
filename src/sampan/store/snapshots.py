"""Root file systems of containers, each made of layers by a storage driver (`snapshotters`).

Lays out directories and records which layers are in use; mounting is the runtime's (`RootMount`).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace

from sampan.errors import Conflict, NotFound, Unsupported
from sampan.ids import ContainerId, Digest, parse_container_id
from sampan.kernel.mountinfo import read_mountinfo
from sampan.kernel.projectquota import set_project_quota
from sampan.lean import Undo
from sampan.store.collector import Collector
from sampan.store.database import Database
from sampan.store.initlayer import make_init_layer
from sampan.store.layers import Layers
from sampan.store.model import Image
from sampan.store.places import Places
from sampan.store.rootview import RootView
from sampan.store.snapshotters import OVERLAY, Snapshot, Snapshotters, overlay_options
from sampan.store.sources import LayerSources
from sampan.store.trees import remove_tree, tree_size


class Snapshots:
    """Snapshots by container id; thread-safe."""

    def __init__(
        self,
        places: Places,
        db: Database,
        layers: Layers,
        sources: LayerSources,
        collector: Collector,
        snapshotters: Snapshotters,
    ) -> None:
        self.drivers = snapshotters
        self._places = places
        self._db = db
        self._layers = layers
        self._sources = sources
        self._collector = collector
        self._init_layers: set[str] = set()  # seen on the disk: never removed before their layer

    def prepare(
        self, container_id: ContainerId, image: Image | None, *, size_bytes: int | None = None
    ) -> Snapshot:
        """Make the directories of a container's root; None is an empty root (mount points only).

        The image's layers stay on the disk until `remove`, whatever happens to the image.
        size_bytes: how much the container may write.

        Raises:
            Conflict: the container has a snapshot. Unsupported: what it writes cannot be limited here.
        """
        sources = self._sources.of(image) if image else []
        top = sources[-1].chain_id if sources else None
        with self._layers.ensure(sources):
            return self.prepare_on(container_id, top, size_bytes=size_bytes)

    def prepare_on(
        self,
        container_id: ContainerId,
        top: Digest | None,
        *,
        mount_points: bool = True,
        size_bytes: int | None = None,
    ) -> Snapshot:
        """Make them above a chain of layers that the caller holds; see `prepare`.

        Without mount points there is no init layer: what lies below those is part of the root.
        """
        driver = self.drivers.choose()
        with Undo() as undo:
            self._insert(container_id, top, driver)
            undo.add(self._delete, container_id)
            snapshot = self._describe(container_id, top, driver)
            if not mount_points:
                lower = snapshot.lower[:-1] or (self._places.make_empty_layer(),)
                snapshot = replace(snapshot, lower=lower)
            folder = self._places.container(container_id)
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)
                undo.add(os.rmdir, folder)
            os.mkdir(snapshot.root, 0o700)
            undo.add(os.rmdir, snapshot.root)
            self.drivers.of(snapshot).fill(snapshot)
            if size_bytes is not None:
                undo.add(remove_tree, snapshot.work)
                undo.add(remove_tree, snapshot.upper)
                _limit(snapshot, size_bytes)
            undo.commit()
        return snapshot

    def get(self, container_id: ContainerId) -> Snapshot:
        """Return an existing snapshot, for a start after a restart.

        Raises:
            NotFound: there is none.
        """
        row = self._db.query_one(
            "SELECT chain_id, driver FROM snapshots WHERE container_id = ?", (container_id,)
        )
        if row is None:
            raise NotFound(f"container {container_id} has no snapshot")
        return self._describe(container_id, None if row[0] is None else Digest(str(row[0])), str(row[1]))

    def changes(self, snapshot: Snapshot) -> AbstractContextManager[str]:
        """Give the directory of what a container has changed, in overlayfs's form (`archive.packing`).

        The caller sees to it that the snapshot stays. The directory may be renamed away once the container
        has ended; else it is only read.
        """
        return self.drivers.of(snapshot).changes(snapshot)

    def remove(self, container_id: ContainerId) -> None:
        """Delete a container's directory with everything in it; nothing happens if there is none.

        Raises:
            Conflict: something is still mounted inside.
        """
        folder = self._places.container(container_id)
        self._check_unmounted(folder)
        doomed = self._places.new_temporary("container")
        row = self._db.query_one("SELECT chain_id FROM snapshots WHERE container_id = ?", (container_id,))
        try:
            os.rename(folder, doomed)
        except FileNotFoundError:
            pass
        self._delete(container_id)
        remove_tree(doomed)
        if row and row[0] is not None and not self._is_needed(Digest(str(row[0]))):
            self._collector.collect()

    def ids(self) -> list[ContainerId]:
        """Return the ids of all containers that have a snapshot."""
        rows = self._db.query("SELECT container_id FROM snapshots")
        return [ContainerId(str(row[0])) for row in rows]

    def chain(self, container_id: ContainerId) -> list[Digest]:
        """Return the chain ids of the layers below a container, lowest first.

        Raises:
            NotFound: it has no snapshot.
        """
        row = self._db.query_one("SELECT chain_id FROM snapshots WHERE container_id = ?", (container_id,))
        if row is None:
            raise NotFound(f"container {container_id} has no snapshot")
        return self._layers.chain(None if row[0] is None else Digest(str(row[0])))

    def usage(self, container_id: ContainerId) -> int:
        """Return the bytes that the container's own files take (the API's SizeRw)."""
        snapshot = self.get(container_id)
        try:
            with self.changes(snapshot) as upper:
                return tree_size(upper)
        except FileNotFoundError as exc:
            raise NotFound(f"container {container_id} has no snapshot") from exc

    def read_file(self, container_id: ContainerId, unsafe_path: str) -> bytes | None:
        """Return a regular file of at most 10 MiB from the container's root, without mounting it.

        For /etc/passwd and /etc/group of a container that does not run. Links are followed inside the root,
        whiteouts are honoured, volumes are not seen. None if there is no such file.

        Raises:
            NotFound: the container has no snapshot.
            InvalidArgument: it is no regular file, too large, or behind too many links.
        """
        snapshot = self.get(container_id)
        with RootView(self.drivers.of(snapshot).shown(snapshot)) as view:
            return view.read_file(unsafe_path)

    def sweep(self, known_ids: Collection[ContainerId]) -> list[ContainerId]:
        """Remove the snapshots of all other containers; return their ids. For the engine's start."""
        rows = self._db.query("SELECT container_id FROM snapshots")
        present = {str(row[0]) for row in rows} | set(os.listdir(self._places.containers))
        unknown = [parse_container_id(name) for name in sorted(present - set(known_ids)) if len(name) == 64]
        for container_id in unknown:
            self.remove(container_id)
        return unknown

    def _describe(self, container_id: ContainerId, top: Digest | None, driver: str) -> Snapshot:
        folder = self._places.container(container_id)
        lower = self._layers.lower(top)
        return Snapshot(
            lower=(*lower, self._init_layer(top, lower)),
            upper=f"{folder}/upper",
            work=f"{folder}/work",
            root=f"{folder}/rootfs",
            driver=driver,
            options=overlay_options() if driver == OVERLAY else (),
        )

    def _init_layer(self, top: Digest | None, lower: list[str]) -> str:
        folder = self._places.layer(top) if top else f"{self._places.layers}/scratch"
        path = f"{folder}/init"
        if path not in self._init_layers or not os.path.isdir(path):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if not os.path.isdir(path):
                make_init_layer(self._places, path, lower[::-1])
            self._init_layers.add(path)
        return path

    def _insert(self, container_id: ContainerId, top: Digest | None, driver: str) -> None:
        sql = "INSERT OR IGNORE INTO snapshots (container_id, chain_id, driver) VALUES (?, ?, ?)"
        added = self._db.execute(sql, (container_id, top, driver))
        if not added:
            raise Conflict(f"container {container_id} has a snapshot already")

    def _delete(self, container_id: ContainerId) -> None:
        self._db.execute("DELETE FROM snapshots WHERE container_id = ?", (container_id,))

    def _is_needed(self, chain_id: Digest) -> bool:
        sql = "SELECT 1 FROM images WHERE chain_id = ? UNION SELECT 1 FROM snapshots WHERE chain_id = ?"
        return self._db.query_one(sql, (chain_id, chain_id)) is not None

    @staticmethod
    def _check_unmounted(folder: str) -> None:
        for mount in read_mountinfo():
            if mount.mount_point == folder or mount.mount_point.startswith(f"{folder}/"):
                raise Conflict(f"cannot remove {folder}: {mount.mount_point} is still mounted")


def _limit(snapshot: Snapshot, size_bytes: int) -> None:
    """Limit what a container may write. Quotas hold for its root, too: the overlay drops CAP_SYS_RESOURCE.

    Source: fs/overlayfs/super.c, "Never override disk quota limits".
    """
    if snapshot.driver != OVERLAY:
        raise Unsupported(
            f"the size of a container's root cannot be limited with the storage driver {snapshot.driver}"
        )
    try:
        set_project_quota(snapshot.upper, size_bytes, also=(snapshot.work,))
    except OSError as exc:
        raise Unsupported(
            f"the size of a container's root cannot be limited: no project quotas ({exc.strerror})",
            hint="the data root needs ext4 or xfs mounted with prjquota; or limit what grows: "
            "--mount type=tmpfs,target=DIR,tmpfs-size=10m",
        ) from exc
