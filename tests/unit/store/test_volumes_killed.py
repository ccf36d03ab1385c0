"""Volumes are made, filled and removed by a process that is killed at each of its durable steps in turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from sampan.store.database import Database
from sampan.store.places import Places, make_places
from sampan.store.volumes import Volumes

ID = "1" * 64


class Killer:
    """Ends the process, as kill -9 does, before or after its n-th change of disk or database."""

    def __init__(self, step: int) -> None:
        self._left = step

    def around(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **more: Any) -> Any:
            self._tick()
            result = change(*arguments, **more)
            self._tick()
            return result

        return changed

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), 9)


def work_until_killed(places: Places, step: int, work: Callable[[Volumes], None]) -> bool:
    """Do the work in a process of its own; tell whether it was killed on the way."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            volumes = Volumes(places, Database(places.database))
            killer = Killer(step)
            for name in ("mkdir", "rename", "rmdir", "chmod"):
                setattr(os, name, killer.around(getattr(os, name)))
            Database._run = killer.around(Database._run)  # type: ignore[method-assign]  # only in the child
            work(volumes)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the work itself failed"
    return killed


def create(volumes: Volumes) -> None:
    volumes.create("new", labels={"a": "b"})


def create_for_a_container(volumes: Volumes) -> None:
    volumes.create("new", user=ID)
    volumes.create("old", user=ID)


def fill(volumes: Volumes) -> None:
    volumes.create("new")
    with volumes.staged("new") as folder:
        os.mkdir(f"{folder}/first")
        os.mkdir(f"{folder}/second")


def remove(volumes: Volumes) -> None:
    volumes.remove("old")
    volumes.finish_removal("old")


@pytest.mark.parametrize("work", [create, create_for_a_container, fill, remove])
def test_killed_at_each_step(tmp_path: Path, work: Callable[[Volumes], None]) -> None:
    steps = 0
    for step in range(1, 400):
        steps = step
        places = make_places(str(tmp_path / f"{work.__name__}-{step}"))
        with Database(places.database) as db:
            old, _ = Volumes(places, db).create("old")
            Path(old.path, "data").write_text("old")
        killed = work_until_killed(places, step, work)
        with Database(places.database) as db:
            volumes = Volumes(places, db)
            for volume in volumes.sweep(set()):
                volumes.finish_removal(volume.name)
            check(volumes, places, work)
        if not killed:
            break
    assert 5 < steps < 399, "it was killed at several steps, and came through in the end"


def check(volumes: Volumes, places: Places, work: Callable[[Volumes], None]) -> None:
    names = [volume.name for volume in volumes.list()]
    assert sorted(os.listdir(places.volumes)) == names, "rows and directories agree"
    assert volumes.user_counts() == {}
    if work is remove:
        assert names in ([], ["old"])
    else:
        assert "old" in names
    if work is create_for_a_container:
        assert names == ["old"], "the container was never made"
    if "old" in names:
        assert os.listdir(volumes.get("old").path) == ["data"]
    if "new" in names and work is fill:
        assert sorted(os.listdir(volumes.get("new").path)) in ([], ["first", "second"]), "whole or nothing"
    volumes.create("new")
    assert apsw.Connection(places.database).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
