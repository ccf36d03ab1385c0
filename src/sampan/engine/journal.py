"""What the engine keeps in state.db: containers, removals that are not finished, events.

A change of state and the event that tells of it go into one transaction. A removal is two steps: the
container's row becomes a `removals` row (from then on the container is gone), and that row goes when its
files are gone. So a crash between them is finished by the next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from sampan import log
from sampan.engine.records import Record, State
from sampan.spec import docker
from sampan.store.database import Database

_STEPS: Final = (
    """
    CREATE TABLE containers (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, request BLOB NOT NULL, state BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE removals (id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE events (seq INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, document BLOB NOT NULL);
    CREATE INDEX events_by_time ON events (time_ns);
    """,
)
_KEPT_EVENTS: Final = 4096
_TRIM_EVERY: Final = 512

_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_state = msgspec.json.Decoder(State).decode
_decode_event = msgspec.json.Decoder(docker.Event).decode


class Journal:
    """The engine's tables; thread-safe as the database is."""

    def __init__(self, db: Database) -> None:
        self._db = db
        db.migrate("engine", _STEPS)
        self._stored_events = 0
        self.broken: dict[str, str] = {}  # id → name of rows that cannot be read

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything in the block, or nothing."""
        with self._db.transaction():
            yield

    def load(self) -> list[Record]:
        """Return every container. A row that cannot be read is named, kept, and its files are left alone."""
        records: list[Record] = []
        for container_id, name, request, state in self._db.query(
            "SELECT id, name, request, state FROM containers"
        ):
            try:
                record = _decode_record(_bytes(request))
                records.append(
                    msgspec.structs.replace(record, name=str(name), state=_decode_state(_bytes(state)))
                )
            except msgspec.MsgspecError as exc:
                log.error("container record cannot be read", container=container_id, reason=exc)
                self.broken[str(container_id)] = str(name)
        return records

    def insert(self, record: Record) -> None:
        """Remember a new container."""
        request = _encode(msgspec.structs.replace(record, name="", state=State()))
        self._db.execute(
            "INSERT INTO containers VALUES (?, ?, ?, ?)",
            (record.id, record.name, request, _encode(record.state)),
        )

    def save_state(self, record: Record) -> None:
        """Remember a container's new state."""
        self._db.execute("UPDATE containers SET state = ? WHERE id = ?", (_encode(record.state), record.id))

    def save_request(self, record: Record) -> None:
        """Remember changed limits or another name."""
        request = _encode(msgspec.structs.replace(record, name="", state=State()))
        self._db.execute(
            "UPDATE containers SET name = ?, request = ? WHERE id = ?", (record.name, request, record.id)
        )

    def begin_removal(self, container_id: str) -> None:
        """Forget a container; its files are to go."""
        self._db.execute("DELETE FROM containers WHERE id = ?", (container_id,))
        self._db.execute("INSERT OR IGNORE INTO removals VALUES (?)", (container_id,))

    def end_removal(self, container_id: str) -> None:
        """The files of a removed container are gone."""
        self._db.execute("DELETE FROM removals WHERE id = ?", (container_id,))

    def removals(self) -> list[str]:
        """Return the ids of containers whose files are still to go."""
        return [str(row[0]) for row in self._db.query("SELECT id FROM removals")]

    def add_event(self, event: docker.Event) -> None:
        """Keep an event for replay; only the last few thousand are kept."""
        self._db.execute(
            "INSERT INTO events (time_ns, document) VALUES (?, ?)", (event.timeNano, _encode(event))
        )
        self._stored_events += 1
        if self._stored_events % _TRIM_EVERY == 0:
            self._db.execute(
                "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", (_KEPT_EVENTS,)
            )

    def events_since(self, since_ns: int) -> Iterator[docker.Event]:
        """Yield kept events from a time on, in order."""
        rows = self._db.query("SELECT document FROM events WHERE time_ns >= ? ORDER BY seq", (since_ns,))
        for (document,) in rows:
            yield _decode_event(_bytes(document))


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
