"""Images that containers have mounted beside their own (`--mount type=image`): their layers stay."""

from __future__ import annotations

import os
from collections.abc import Collection

from sampan.errors import InvalidArgument
from sampan.ids import Digest
from sampan.store.collector import Collector
from sampan.store.database import Database
from sampan.store.layers import Layers
from sampan.store.model import Image
from sampan.store.places import Places
from sampan.store.rootview import RootView
from sampan.store.sources import LayerSources


class ImageMounts:
    """Which container has which image; thread-safe. The table is the store's (`schema.py`)."""

    def __init__(
        self, places: Places, db: Database, layers: Layers, sources: LayerSources, collector: Collector
    ) -> None:
        self._places = places
        self._db = db
        self._layers = layers
        self._sources = sources
        self._collector = collector

    def hold(self, container_id: str, image: Image) -> None:
        """Unpack an image and keep its layers until `release`."""
        sources = self._sources.of(image)
        with self._layers.ensure(sources):
            top = sources[-1].chain_id if sources else None
            self._db.execute(
                "INSERT OR REPLACE INTO image_mounts VALUES (?, ?, ?)", (container_id, image.id, top)
            )

    def users(self, image_id: str) -> list[str]:
        """Return the ids of the containers that have an image mounted."""
        rows = self._db.query("SELECT container_id FROM image_mounts WHERE image_id = ?", (image_id,))
        return [str(row[0]) for row in rows]

    def lower(self, container_id: str, image_id: str, subpath: str = "") -> list[str]:
        """Return the directories that make up an image, or a directory in it, lowest first, for overlayfs.

        Raises:
            InvalidArgument: the image has no such directory.
        """
        sql = "SELECT chain_id FROM image_mounts WHERE container_id = ? AND image_id = ?"
        row = self._db.query_one(sql, (container_id, image_id))
        assert row is not None, "held since the container's create"
        layers = self._layers.lower(Digest(str(row[0])) if row[0] is not None else None)
        if subpath:
            with RootView(layers[::-1]) as view:
                found = view.find_directory(subpath)
                if found is None:
                    raise InvalidArgument(f"image mount: no directory {subpath!r} in the image")
                layers = [os.readlink(f"/proc/self/fd/{fd}") for fd in reversed(found)]
        return [self._places.make_empty_layer(), *layers]

    def file(self, container_id: str, image_id: str, subpath: str) -> str | None:
        """Return the path of a regular file in an image, None if the subpath names none."""
        sql = "SELECT chain_id FROM image_mounts WHERE container_id = ? AND image_id = ?"
        row = self._db.query_one(sql, (container_id, image_id))
        assert row is not None, "held since the container's create"
        with RootView(self._layers.lower(Digest(str(row[0])) if row[0] is not None else None)[::-1]) as view:
            return view.find_file(subpath)

    def release(self, container_id: str) -> None:
        """A container is gone: its images may go too."""
        if self._db.execute("DELETE FROM image_mounts WHERE container_id = ?", (container_id,)):
            self._collector.collect()

    def sweep(self, known_ids: Collection[str]) -> None:
        """Forget containers that are none. For the engine's start."""
        rows = self._db.query("SELECT DISTINCT container_id FROM image_mounts")
        for container_id in {str(row[0]) for row in rows} - set(known_ids):
            self.release(container_id)
