"""Rotation, whole records, and a disk that refuses."""

import json
import os
from pathlib import Path

import pytest

from sampan.runtime.launcher.log_writer import open_log
from sampan.runtime.launcher.messages import LogSettings


def lines(path: Path) -> list[str]:
    return [json.loads(line)["log"] for line in path.read_bytes().splitlines()]


def settings(path: Path, *, max_size: int = 0, max_files: int = 5) -> LogSettings:
    return LogSettings(path=str(path), max_size=max_size, max_files=max_files)


def test_appends_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text in (b"one\n", b"two"):
        log = open_log(settings(path))
        log.write("stdout", text)
        log.close()
    assert lines(path) == ["one\n", "two"]
    assert path.stat().st_mode & 0o7777 == 0o640


def test_streams_do_not_mix(tmp_path: Path) -> None:
    log = open_log(settings(tmp_path / "log"))
    log.write("stdout", b"ou")
    log.write("stderr", b"err\n")
    log.write("stdout", b"t\n")
    log.close()
    assert lines(tmp_path / "log") == ["err\n", "out\n"]


@pytest.mark.parametrize("together", [True, False], ids=["one big read", "a read for each line"])
def test_rotates(tmp_path: Path, *, together: bool) -> None:
    path = tmp_path / "log"
    log = open_log(settings(path, max_size=1000, max_files=3))
    text = [b"line %03d\n" % number for number in range(100)]
    for data in [b"".join(text)] if together else text:
        log.write("stdout", data)
    log.close()
    files = [tmp_path / "log.2", tmp_path / "log.1", path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = [line for file in files for line in lines(file)]
    assert kept == [line.decode() for line in text[-len(kept) :]]
    assert len(kept) > 25


def test_one_file_starts_over(tmp_path: Path) -> None:
    log = open_log(settings(tmp_path / "log", max_size=200, max_files=1))
    for number in range(20):
        log.write("stdout", b"line %02d\n" % number)
    log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert lines(tmp_path / "log")[-1] == "line 19\n"


def test_record_longer_than_a_file(tmp_path: Path) -> None:
    log = open_log(settings(tmp_path / "log", max_size=100, max_files=9))
    log.write("stdout", b"x" * 300 + b"\nshort\n")
    log.close()
    assert lines(tmp_path / "log.1") == ["x" * 300 + "\n"]
    assert lines(tmp_path / "log") == ["short\n"]


def test_refused_writes_are_counted(tmp_path: Path) -> None:
    log = open_log(settings(tmp_path / "missing" / "log"))
    log.write("stdout", b"lost\n")
    assert log.dropped_bytes > 0
    (tmp_path / "missing").mkdir()
    log.write("stdout", b"kept\n")
    log.close()
    assert lines(tmp_path / "missing" / "log") == ["kept\n"]


def test_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(settings(tmp_path / "log"))
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:150]))
    log.write("stdout", b"one\ntwo\nthree\n")
    monkeypatch.undo()
    log.write("stdout", b"four\n")
    log.close()
    assert lines(tmp_path / "log") == ["one\n", "two\n", "four\n"]


def test_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "target")
    log = open_log(settings(tmp_path / "log"))
    log.write("stdout", b"x\n")
    log.close()
    assert not (tmp_path / "target").exists()
    assert log.dropped_bytes > 0
