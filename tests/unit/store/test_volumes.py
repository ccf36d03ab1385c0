"""Volumes on the disk and in the database, and what a crash leaves of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.store.database import Database
from sampan.store.places import make_places
from sampan.store.volumes import Volumes

Open = Callable[[], Volumes]
ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def open_volumes(tmp_path: Path) -> Iterator[Open]:
    """Open the same data root again and again, as a daemon that is killed does."""
    databases: list[Database] = []

    def reopen() -> Volumes:
        for database in databases:
            database.close()
        databases[:] = [Database(str(tmp_path / "data/state.db"))]
        return Volumes(places, databases[0])

    places = make_places(str(tmp_path / "data"))
    yield reopen
    databases[0].close()


@pytest.fixture
def volumes(open_volumes: Open) -> Volumes:
    return open_volumes()


def test_create_finds_what_is_there(volumes: Volumes) -> None:
    made, new = volumes.create("data", labels={"a": "b"})
    again, second = volumes.create("data", labels={"other": "x"})
    assert (new, second) == (True, False)
    assert made == again == volumes.get("data")
    assert Path(made.path).is_dir()
    assert oct(os.stat(made.path).st_mode & 0o777) == "0o755"
    assert [volume.name for volume in volumes.list()] == ["data"]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("x", "volume name is too short"),
        ("../x", "includes invalid characters for a local volume name"),
        ("a/b", "includes invalid characters"),
        (".hidden", "includes invalid characters"),
        ("a" * 256, "includes invalid characters"),
        ("a\n", "includes invalid characters"),
    ],
)
def test_wrong_names(volumes: Volumes, name: str, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        volumes.create(name)
    assert volumes.list() == []


def test_a_name_belongs_to_one_driver(volumes: Volumes) -> None:
    volumes.create("data", driver="other")
    with pytest.raises(Conflict, match="driver 'other' already has volume 'data'"):
        volumes.create("data")


def test_used_volumes_stay(volumes: Volumes) -> None:
    volumes.create("data", user=ONE)
    volumes.create("data", user=TWO)
    assert volumes.user_counts() == {"data": 2}
    with pytest.raises(Conflict, match=rf"remove data: volume is in use - \[{ONE}, {TWO}\]"):
        volumes.remove("data")
    volumes.release(ONE)
    volumes.release(TWO)
    volumes.remove("data")
    volumes.finish_removal("data")
    with pytest.raises(NotFound, match="get data: no such volume"):
        volumes.get("data")
    assert not os.path.exists(volumes.path("data"))


def test_what_was_made_for_a_container_goes_with_its_making(volumes: Volumes) -> None:
    volumes.create("before")
    volumes.create("before", user=ONE)
    volumes.create("made", user=ONE)
    volumes.create("shared", user=ONE)
    volumes.create("shared", user=TWO)
    assert [volume.name for volume in volumes.undo_making(ONE)] == ["made"]
    assert [volume.name for volume in volumes.list()] == ["before", "shared"]


def test_usage_counts_hard_links_once(volumes: Volumes) -> None:
    made, _ = volumes.create("data")
    folder = Path(made.path)
    (folder / "a").write_bytes(b"x" * 1000)
    os.link(folder / "a", folder / "b")
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/c").write_bytes(b"y" * 234)
    assert volumes.usage("data") == 1234
    volumes.create("mounted", options={"type": "tmpfs", "device": "tmpfs"})
    assert volumes.usage("mounted") == -1


class TestAfterACrash:
    """Each state that kill -9 can leave, made by hand, and then the next start."""

    def test_between_row_and_directory(self, open_volumes: Open) -> None:
        volumes = open_volumes()
        made, _ = volumes.create("data")
        os.rmdir(made.path)
        os.rmdir(os.path.dirname(made.path))
        assert Path(open_volumes().get("data").path).is_dir()

    def test_marked_but_not_removed(self, open_volumes: Open) -> None:
        volumes = open_volumes()
        made, _ = volumes.create("data")
        Path(made.path, "file").touch()
        volumes.remove("data")
        assert open_volumes().list() == []
        assert not os.path.exists(os.path.dirname(made.path))

    def test_moved_away_but_still_marked(self, open_volumes: Open) -> None:
        volumes = open_volumes()
        made, _ = volumes.create("data")
        volumes.remove("data")
        os.rename(os.path.dirname(made.path), f"{os.path.dirname(made.path)}/../../tmp/gone")
        again = open_volumes()
        assert again.list() == []
        assert again.create("data")[1]

    def test_marked_and_made_again_before_its_files_are_gone(self, volumes: Volumes) -> None:
        made, _ = volumes.create("data")
        Path(made.path, "old").touch()
        volumes.remove("data")
        fresh, new = volumes.create("data")
        assert new
        assert os.listdir(fresh.path) == []

    def test_a_directory_without_a_row_becomes_a_volume(self, open_volumes: Open, tmp_path: Path) -> None:
        open_volumes()
        (tmp_path / "data/volumes/found/_data").mkdir(parents=True)
        (tmp_path / "data/volumes/found/_data/precious").touch()
        (tmp_path / "data/volumes/.odd").mkdir()
        volumes = open_volumes()
        assert [volume.name for volume in volumes.list()] == ["found"]
        assert os.listdir(volumes.get("found").path) == ["precious"]

    def test_sweep_forgets_containers_that_are_none(self, open_volumes: Open) -> None:
        volumes = open_volumes()
        volumes.create("kept", user=TWO)
        volumes.settle(TWO)
        volumes.create("kept", user=ONE)
        volumes.create("half", user=ONE)
        volumes = open_volumes()
        assert [volume.name for volume in volumes.sweep({TWO})] == ["half"]
        assert volumes.users("kept") == [TWO]
        volumes.finish_removal("half")
        assert [volume.name for volume in volumes.list()] == ["kept"]


def test_staged_content_is_there_whole_or_not_at_all(volumes: Volumes) -> None:
    made, _ = volumes.create("data")
    with pytest.raises(OSError, match="full"), volumes.staged("data") as folder:
        Path(folder, "half").touch()
        raise OSError("full")
    assert os.listdir(made.path) == []
    with volumes.staged("data") as folder:
        Path(folder, "whole").touch()
    assert os.listdir(made.path) == ["whole"]
    with volumes.staged("data") as folder:
        Path(folder, "late").touch()
    assert os.listdir(made.path) == ["whole"]
