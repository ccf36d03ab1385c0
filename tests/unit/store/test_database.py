from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from sampan.errors import Unsupported
from sampan.store.database import Database

STEPS = ("CREATE TABLE things (name TEXT PRIMARY KEY)", "ALTER TABLE things ADD COLUMN size INTEGER")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


def names(db: Database) -> list[object]:
    return [row[0] for row in db.query("SELECT name FROM things ORDER BY name")]


def test_components_migrate_on_their_own(path: str) -> None:
    with Database(path) as db:
        db.migrate("one", STEPS[:1])
        db.execute("INSERT INTO things VALUES ('a')")
    with Database(path) as db:
        db.migrate("one", STEPS)
        db.migrate("two", ("CREATE TABLE others (x)",))
        assert db.query("SELECT name, size FROM things") == [("a", None)]
        db.migrate("one", STEPS)  # nothing is done twice


def test_a_newer_database_is_refused(path: str) -> None:
    with Database(path) as db:
        db.migrate("one", STEPS)
    with Database(path) as db, pytest.raises(Unsupported, match="version 2 of one, newer than ours, 1"):
        db.migrate("one", STEPS[:1])


def test_a_failing_step_changes_nothing(path: str) -> None:
    with Database(path) as db:
        db.migrate("one", STEPS[:1])
        with pytest.raises(apsw.SQLError):
            db.migrate("one", (*STEPS, "nonsense"))
        db.migrate("one", STEPS)


def test_a_transaction_is_all_or_nothing(path: str) -> None:
    with Database(path) as db:
        db.migrate("one", STEPS)
        with pytest.raises(ZeroDivisionError), db.transaction():
            db.execute("INSERT INTO things (name) VALUES ('a')")
            with db.transaction():
                db.execute("INSERT INTO things (name) VALUES ('b')")
            assert names(db) == ["a", "b"], "its own writes are seen inside"
            raise ZeroDivisionError
        assert names(db) == []
        with db.transaction(durable=True):
            db.execute("INSERT INTO things (name) VALUES ('c')")
        assert names(db) == ["c"]


def test_threads_take_turns(path: str) -> None:
    with Database(path) as db:
        db.migrate("one", ("CREATE TABLE counter (n INTEGER)", "INSERT INTO counter VALUES (0)"))

        def count() -> None:
            for _ in range(50):
                with db.transaction():
                    row = db.query_one("SELECT n FROM counter")
                    assert row is not None
                    db.execute("UPDATE counter SET n = ?", (int(str(row[0])) + 1,))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert db.query("SELECT n FROM counter") == [(200,)]


def test_foreign_keys_hold(path: str) -> None:
    with Database(path) as db:
        db.migrate("one", ("CREATE TABLE a (x PRIMARY KEY)", "CREATE TABLE b (y REFERENCES a)"))
        with pytest.raises(apsw.ConstraintError):
            db.execute("INSERT INTO b VALUES (1)")
