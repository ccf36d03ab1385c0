"""The store as a whole: one data root, one process."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from sampan.lean import Undo
from sampan.store import repositories, schema
from sampan.store.arrivals import Arrivals
from sampan.store.blobs import Blobs
from sampan.store.built import Built
from sampan.store.catalog import Catalog
from sampan.store.checking import StoreCheck
from sampan.store.collector import Collector
from sampan.store.commits import Commits
from sampan.store.database import Database
from sampan.store.image_mounts import ImageMounts
from sampan.store.image_views import ImageViews
from sampan.store.images import Images
from sampan.store.intake import Intake
from sampan.store.layers import Layers
from sampan.store.layout import Layout
from sampan.store.lending import Lending
from sampan.store.packing import Packer
from sampan.store.pins import Pins
from sampan.store.places import make_places, take_lock
from sampan.store.remover import Remover
from sampan.store.saving import Saving
from sampan.store.snapshots import Snapshots
from sampan.store.snapshotters import AUTO, Snapshotters
from sampan.store.sources import LayerSources
from sampan.store.trees import remove_tree
from sampan.store.uploads import Uploads
from sampan.store.usage import StoreUsage, store_usage
from sampan.store.variants import Variants
from sampan.store.verifying import Verifier
from sampan.store.volumes import Volumes


class Store:
    """Opens a data root, and sweeps what a crash left in it; use it in a `with` or call `close`.

    storage_driver: what new containers' roots are made by, looked for when the first one is made.
    `db` is open to the engine, which adds its own tables by `db.migrate("engine", …)`.

    Raises:
        Unavailable: another process has it open.
    """

    def __init__(self, data_root: str, *, storage_driver: str = AUTO) -> None:
        self._places = places = make_places(data_root)
        with Undo() as undo:
            self._lock_fd = take_lock(places)
            undo.add(os.close, self._lock_fd)
            self.db = Database(places.database)
            undo.add(self.db.close)
            self.db.migrate(schema.COMPONENT, schema.STEPS)
            self.db.migrate(repositories.COMPONENT, repositories.STEPS)
            pins = Pins()
            blobs = Blobs(places)
            catalog = Catalog(self.db)
            sources = LayerSources(blobs)
            self.layers = Layers(places, self.db, blobs, pins)
            layout = Layout(places, catalog)
            self._remover = Remover()
            undo.add(self._remover.close)
            collector = Collector(self.db, catalog, blobs, self.layers, pins, self._remover)
            variants = Variants(self.db, catalog)
            intake = Intake(self.db, catalog, blobs, self.layers, layout, pins, collector, variants)
            self.images = Images(places, catalog, self.layers, sources, layout, intake, collector, variants)
            packer = Packer(places, self.db, blobs, pins)
            self.arrivals = Arrivals(places, catalog, blobs, self.layers, pins, intake, packer, variants)
            self.saving = Saving(catalog, blobs, sources, pins)
            self.lending = Lending(catalog, blobs, sources)
            self.commits = Commits(places, blobs, self.layers, pins, intake)
            self.built = Built(places, self.db, blobs, self.layers, pins, intake, sources, collector)
            snapshotters = Snapshotters(places, storage_driver)
            self.snapshots = Snapshots(places, self.db, self.layers, sources, collector, snapshotters)
            self.image_views = ImageViews(places, self.layers, sources)
            self.image_mounts = ImageMounts(places, self.db, self.layers, sources, collector)
            self.volumes = Volumes(places, self.db)
            self.repositories = repositories.Repositories(self.db, blobs, pins, collector)
            self.uploads = Uploads(places)
            self.verifier = Verifier(catalog, blobs, self.layers, sources, pins)
            self.check = StoreCheck(places, catalog, blobs, self.layers, pins, collector)
            leftovers = [f"{places.temporary}/{name}" for name in os.listdir(places.temporary)]
            leftovers += self.layers.sweep()
            self.arrivals.partials.sweep()
            collector.collect()
            layout.sweep()
            layout.write()
            undo.commit()
        self._closing = False
        self._sweeper = threading.Thread(
            target=self._sweep, args=(leftovers,), name="store-sweep", daemon=True
        )
        self._sweeper.start()

    def usage(self) -> StoreUsage:
        """Measure what the data root occupies."""
        return store_usage(self._places)

    def close(self) -> None:
        """Close the database and give the data root free; may be called twice."""
        if self._lock_fd < 0:
            return
        self._closing = True
        self._sweeper.join()
        self._remover.close()
        self.db.close()
        os.close(self._lock_fd)
        self._lock_fd = -1

    def wait_until_swept(self) -> None:
        """Return once what the last process left in `tmp/` is removed; it goes on beside the work."""
        self._sweeper.join()
        self._remover.wait()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _sweep(self, leftovers: Sequence[str]) -> None:
        for path in leftovers:
            if self._closing:
                return  # the next start goes on
            if os.path.isdir(path):
                remove_tree(path)
            else:
                os.unlink(path)
