"""The store as a whole: one data root, one process."""

from __future__ import annotations

from sampan.store.database import Database
from sampan.store.images import Images
from sampan.store.layers import Layers
from sampan.store.snapshots import Snapshots


class Store:
    """Opens a data root, and sweeps what a crash left in it; use it in a `with` or call `close`.

    Raises:
        Unavailable: another process has it open.
    """

    db: Database  # the engine adds its own tables by `db.migrate("engine", …)`
    images: Images
    layers: Layers
    snapshots: Snapshots

    def __init__(self, data_root: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close the database and give the data root free."""
        raise NotImplementedError

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
