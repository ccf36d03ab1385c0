"""What is kept of containers' health: status, streak and log as of the last change of the status."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from sampan import log
from sampan.engine.health.checks import Health
from sampan.store.database import Database

_STEPS: Final = ("CREATE TABLE health (id TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;",)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Health).decode


class HealthStore:
    """Health by container id; calls join the engine's transactions, as the database does."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.migrate("health", _STEPS)

    def load(self) -> dict[str, Health]:
        """Return all that is kept; what cannot be read is as if it had never been."""
        found = {}
        for container_id, document in self._db.query("SELECT id, document FROM health"):
            try:
                found[str(container_id)] = _decode(document if isinstance(document, bytes) else b"")
            except msgspec.MsgspecError as exc:
                log.warning("health cannot be read", container=container_id, reason=exc)
        return found

    def save(self, container_id: str, health: Health) -> None:
        """Keep a container's health."""
        self._db.execute("INSERT OR REPLACE INTO health VALUES (?, ?)", (container_id, _encode(health)))

    def forget(self, container_id: str) -> None:
        """Forget a removed container's health."""
        self._db.execute("DELETE FROM health WHERE id = ?", (container_id,))

    def sweep(self, known: Collection[str]) -> None:
        """Forget the health of containers that are not there any more."""
        for container_id in self.load().keys() - set(known):
            self.forget(container_id)
