"""What the engine remembers: journal, index, waits, life cycle, event filters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from sampan.engine.container import Container
from sampan.engine.index import ContainerIndex
from sampan.engine.journal import Journal
from sampan.engine.lifecycle.states import ALLOWED, check_transition
from sampan.engine.lifecycle.waits import Waits, parse_condition
from sampan.engine.observing.events import EventFilter, Events, make_event
from sampan.engine.records import Record, State, Status
from sampan.engine.types import WaitResult
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.spec import docker
from sampan.store.database import Database


def make_record(container_id: str = "a" * 64, name: str = "web") -> Record:
    return Record(
        id=container_id,
        name=name,
        created_ns=1,
        image_id="sha256:" + "0" * 64,
        image="busybox",
        config=docker.Config(Cmd=["sh"], Labels={"a": "b"}),
        host=docker.HostConfig(Memory=1 << 30, Binds=["/a:/b"]),
        runtime="sampan",
        cgroup="/x",
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state.db")) as database:
        yield database


def test_record_survives(db: Database) -> None:
    record = make_record()
    Journal(db).insert(record)
    assert Journal(db).load() == [record]


def test_state_and_name_survive(db: Database) -> None:
    journal = Journal(db)
    journal.insert(make_record())
    changed = msgspec.structs.replace(
        make_record(name="shop"), state=State(status="running", pid=5, start_ticks=6, started_at_ns=7)
    )
    journal.save_state(changed)
    journal.save_request(changed)
    assert journal.load() == [changed]


def test_removal_is_remembered_until_it_is_done(db: Database) -> None:
    journal = Journal(db)
    journal.insert(make_record())
    journal.begin_removal("a" * 64)
    assert journal.load() == []
    assert Journal(db).removals() == ["a" * 64]
    journal.insert(make_record("b" * 64))  # the name is free
    journal.end_removal("a" * 64)
    assert journal.removals() == []


def test_transaction_is_all_or_nothing(db: Database) -> None:
    journal = Journal(db)

    def insert_and_fail() -> None:
        with journal.transaction():
            journal.insert(make_record())
            raise RuntimeError("as wanted")

    with pytest.raises(RuntimeError):
        insert_and_fail()
    assert journal.load() == []


def test_broken_row_is_named_and_kept(db: Database) -> None:
    journal = Journal(db)
    journal.insert(make_record())
    journal.insert(make_record("b" * 64, "other"))
    db.execute("UPDATE containers SET state = '{' WHERE name = 'web'")
    db.execute("UPDATE containers SET state = x'7b' WHERE name = 'web'")
    assert [record.name for record in journal.load()] == ["other"]
    assert journal.broken == {"a" * 64: "web"}


def test_old_events_are_dropped(db: Database) -> None:
    journal = Journal(db)
    with journal.transaction():
        for number in range(6000):
            journal.add_event(make_event("container", "start", str(number), {}))
    kept = [event.Actor.ID for event in journal.events_since(0)]
    assert kept[-1] == "5999"
    assert 4000 < len(kept) < 5000


def test_no_event_is_lost_between_past_and_future(db: Database) -> None:
    events = Events(Journal(db))
    events.emit(make_event("container", "create", "1", {}))
    seen: list[str] = []
    subscription = events.subscribe(lambda event: seen.append(event.Actor.ID), since_ns=0)
    events.emit(make_event("container", "start", "2", {}))
    subscription.cancel()
    events.emit(make_event("container", "die", "3", {}))
    assert seen == ["1", "2"]


def test_an_event_kept_but_not_yet_told_reaches_who_joins_in_between_once(db: Database) -> None:
    journal = Journal(db)
    events = Events(journal)
    event = make_event("container", "create", "1", {})
    journal.add_event(event)
    seen: list[str] = []
    events.subscribe(lambda event: seen.append(event.Actor.ID), since_ns=0)
    events.publish(event)
    events.emit(make_event("container", "create", "2", {}))
    assert seen == ["1", "2"]


# --- index -----------------------------------------------------------------------------------------------


@pytest.fixture
def index() -> ContainerIndex:
    index = ContainerIndex()
    for container_id, name in (("aa" + "0" * 62, "web"), ("ab" + "0" * 62, "aa"), ("b" * 64, "b1")):
        index.reserve_name(name, container_id)
        index.add(Container(make_record(container_id, name)))
    return index


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        pytest.param("aa" + "0" * 62, "web", id="full id"),
        pytest.param("web", "web", id="name"),
        pytest.param("/web", "web", id="name with slash"),
        pytest.param("aa", "aa", id="a name wins over the beginning of an id"),
        pytest.param("aa0", "web", id="beginning of an id"),
        pytest.param("b", "b1", id="one letter"),
    ],
)
def test_look_up(index: ContainerIndex, ref: str, name: str) -> None:
    assert index.get(ref).record.name == name


def test_look_up_fails(index: ContainerIndex) -> None:
    with pytest.raises(InvalidArgument, match="multiple IDs found with provided prefix: a"):
        index.get("a")
    for ref in ("nosuch", "", "/", "aa1", "b" * 65):
        with pytest.raises(NotFound, match=f"No such container: {ref}"):
            index.get(ref)


def test_removed_container_is_not_found_and_its_name_free(index: ContainerIndex) -> None:
    index.remove(index.get("web"))
    with pytest.raises(NotFound):
        index.get("aa0")
    index.reserve_name("web", "c" * 64)


def test_name_in_use(index: ContainerIndex) -> None:
    with pytest.raises(Conflict, match='The container name "/web" is already in use by container "aa0'):
        index.reserve_name("web", "c" * 64)
    index.release_name("web", "c" * 64)  # not the holder
    assert not index.is_name_free("web")


# --- waits and life cycle --------------------------------------------------------------------------------


def test_waits() -> None:
    waits = Waits()
    calls: list[str] = []
    for condition in ("not-running", "next-exit", "removed"):
        waits.add(condition, lambda _result, condition=condition: calls.append(condition))  # type: ignore[arg-type,misc]  # loop variable kept
    waits.ended(WaitResult(status_code=0))
    assert calls == ["not-running", "next-exit"]
    waits.ended(WaitResult(status_code=0))
    waits.removed(WaitResult(status_code=0))
    waits.removed(WaitResult(status_code=0))
    assert calls == ["not-running", "next-exit", "removed"]


def test_callback_that_fails_does_not_keep_others_waiting() -> None:
    waits, called = Waits(), []

    def fail(_result: WaitResult) -> None:
        raise RuntimeError("as wanted")

    waits.add("next-exit", fail)
    waits.add("next-exit", called.append)
    waits.ended(WaitResult(status_code=1))
    assert called == [WaitResult(status_code=1)]


def test_conditions() -> None:
    assert parse_condition("") == "not-running"
    assert parse_condition("removed") == "removed"
    with pytest.raises(InvalidArgument, match='invalid condition: "x"'):
        parse_condition("x")


@pytest.mark.parametrize(("now", "then"), list(itertools.product(get_args(Status), repeat=2)))
def test_transitions(now: Status, then: Status) -> None:
    if (now, then) in ALLOWED:
        check_transition("id", now, then)
    else:
        with pytest.raises(Conflict):
            check_transition("id", now, then)


@pytest.mark.parametrize(
    ("action", "wanted", "passes"),
    [
        ("exec_create: ls -l", "exec_create", True),
        ("exec_create: ls -l", "exec_create: ls", False),
        ("health_status: healthy", "health_status", True),
        ("start", "sta", False),
        ("start", "start", True),
    ],
)
def test_event_names(action: str, wanted: str, passes: bool) -> None:
    event = make_event("container", action, "id", {})
    assert EventFilter({"event": [wanted]}).passes(event) is passes


@pytest.mark.parametrize(
    ("value", "passes"),
    [("registry/app:1", True), ("registry/app", True), ("app", False), ("registry", False)],
)
def test_image_filter(value: str, passes: bool) -> None:
    event = make_event("container", "start", "id", {"image": "registry/app:1"})
    assert EventFilter({"image": [value]}).passes(event) is passes
