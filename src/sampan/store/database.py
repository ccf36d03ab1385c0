"""SQLite behind one lock: write-ahead log, transactions, and a schema version for each component.

One connection, shared by all threads under a lock: a read costs microseconds, so a pool would only add
states. Readers see their own transaction's writes. Components (store, engine) bring their own tables.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import apsw

from sampan.errors import Unsupported

SqlValue = None | int | float | str | bytes
Row = tuple[SqlValue, ...]

_WAL_BYTES: Final = 4 * 1024 * 1024 + 256 * 1024  # what it grows to before its pages go to the main file
_BUSY_TIMEOUT_MS: Final = 5000  # only a person with the sqlite3 tool can hold the file locked


class Database:
    """One database file; thread-safe. Close it, or use it in a `with`."""

    def __init__(self, path: str) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        os.close(
            os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        )  # its side files get the same mode
        self._connection = apsw.Connection(path)
        self._connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        self._run("PRAGMA journal_mode=WAL")
        self._run("PRAGMA synchronous=NORMAL")
        self._run("PRAGMA foreign_keys=ON")
        self._run("PRAGMA trusted_schema=OFF")
        self._run("CREATE TABLE IF NOT EXISTS schema_versions (component TEXT PRIMARY KEY, version INTEGER)")
        _reserve(f"{path}-wal")

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no call may follow."""
        with self._lock:
            self._connection.close()

    def migrate(self, component: str, steps: Sequence[str]) -> None:
        """Bring a component's tables to version `len(steps)`; step n leads from version n to n + 1.

        Steps are SQL scripts. They are only ever appended to, never changed: databases of users hold them.

        Raises:
            Unsupported: the database was written by a newer version.
        """
        with self.transaction(durable=True):
            row = self.query_one("SELECT version FROM schema_versions WHERE component = ?", (component,))
            version = 0 if row is None else int(str(row[0]))
            if version > len(steps):
                raise Unsupported(
                    f"state.db holds version {version} of {component}, newer than ours, {len(steps)}",
                    hint="run the newer sampan, or start with another --data-root",
                )
            for step in steps[version:]:
                self._run(step)
            self._run("INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", (component, len(steps)))

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Do everything in the block or nothing; other threads wait. Nested blocks join the outer one.

        A power cut may undo the last transactions (they are ordered, so never half of one). With durable
        the block is on the disk when it ends: for what must not be forgotten, such as a removal before its
        files are deleted. Durability of a nested block is the outer one's.
        """
        with self._lock:
            if self._depth:
                yield
                return
            self._depth = 1
            try:
                yield from self._outermost(durable)
            finally:
                self._depth = 0

    def _outermost(self, durable: bool) -> Iterator[None]:
        if durable:
            self._run("PRAGMA synchronous=FULL")
        try:
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a failed COMMIT (disk full) may have ended it
                    self._run("ROLLBACK")
                raise
        finally:
            if durable:
                self._run("PRAGMA synchronous=NORMAL")

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> int:
        """Run one statement and return how many rows it changed; outside a transaction it is its own."""
        with self._lock:
            self._run(sql, values)
            return int(self._connection.changes())

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> list[Row]:
        """Return every row of a SELECT."""
        with self._lock:
            return list(self._connection.execute(sql, tuple(values)))

    def query_one(self, sql: str, values: Sequence[SqlValue] = ()) -> Row | None:
        """Return the first row of a SELECT, or None."""
        rows = self.query(sql, values)
        return rows[0] if rows else None

    def _run(self, sql: str, values: Sequence[SqlValue] = ()) -> None:
        for _row in self._connection.execute(sql, tuple(values)):
            pass  # a PRAGMA answers with rows


def _reserve(path: str) -> None:
    """Give the write-ahead log its room now: on a full disk one must still be able to remove things.

    SQLite reads frames up to the first that is none, and uses the file from its beginning again and again, so
    the zeros at its end mean nothing to it. No lock is lost by our closing it: the other files have them.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.posix_fallocate(fd, 0, _WAL_BYTES)
    except OSError:
        pass  # it is full already, or cannot do that
    finally:
        os.close(fd)
