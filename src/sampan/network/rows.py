"""Networks and endpoints in state.db."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

import msgspec

from sampan.network.model import Endpoint, NetworkRecord
from sampan.store.database import Database

_STEPS: Final = (
    """
    CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, document BLOB NOT NULL);
    CREATE TABLE endpoints (id TEXT PRIMARY KEY, network TEXT NOT NULL REFERENCES networks (id),
        container TEXT NOT NULL, address TEXT NOT NULL, document BLOB NOT NULL,
        UNIQUE (network, address), UNIQUE (network, container));
    CREATE INDEX endpoints_by_container ON endpoints (container);
    """,
)


class Rows:
    """The two tables. An address that a row holds is given to nobody else, whatever crashes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.migrate("network", _STEPS)

    def transaction(self) -> AbstractContextManager[None]:
        """Do everything in the block or nothing."""
        return self._db.transaction()

    def networks(self) -> list[NetworkRecord]:
        """Return every network, oldest first."""
        rows = self._db.query("SELECT document FROM networks")
        found = [msgspec.json.decode(_bytes(row[0]), type=NetworkRecord) for row in rows]
        return sorted(found, key=lambda network: network.created_ns)

    def endpoints(self) -> list[Endpoint]:
        """Return every endpoint."""
        rows = self._db.query("SELECT document FROM endpoints")
        return [msgspec.json.decode(_bytes(row[0]), type=Endpoint) for row in rows]

    def save_network(self, network: NetworkRecord) -> None:
        """Insert a network, or change it."""
        self._db.execute(
            "INSERT INTO networks VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET document = excluded.document",
            (network.id, network.name, msgspec.json.encode(network)),
        )

    def delete_network(self, network_id: str) -> None:
        """Forget a network."""
        self._db.execute("DELETE FROM networks WHERE id = ?", (network_id,))

    def insert_endpoint(self, endpoint: Endpoint) -> None:
        """Remember an endpoint."""
        self._db.execute(
            "INSERT INTO endpoints VALUES (?, ?, ?, ?, ?)",
            (
                endpoint.id,
                endpoint.network,
                endpoint.container,
                endpoint.address
                or endpoint.address6
                or endpoint.id,  # not known yet: whoever gives it sees to it that it is one's own
                msgspec.json.encode(endpoint),
            ),
        )

    def change_endpoint(self, endpoint: Endpoint) -> None:
        """Remember what else an endpoint is; its network, container and address stay."""
        self._db.execute(
            "UPDATE endpoints SET document = ? WHERE id = ?", (msgspec.json.encode(endpoint), endpoint.id)
        )

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Forget an endpoint."""
        self._db.execute("DELETE FROM endpoints WHERE id = ?", (endpoint_id,))


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
