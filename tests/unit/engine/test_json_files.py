"""Reading a rotated log while it is written: every record once, in order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.engine.logs.json_files import JsonFiles


class Writer:
    """Writes numbered records and rotates as the shim does."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "x-json.log")
        self.next = 0
        Path(self.path).touch()

    def write(self, count: int) -> None:
        with open(self.path, "ab") as file:
            for _ in range(count):
                file.write(b"%d\n" % self.next)
                self.next += 1

    def rotate(self) -> None:
        numbers = [number for number in range(1, 100) if os.path.exists(f"{self.path}.{number}")]
        for number in reversed(numbers):
            os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.rename(self.path, f"{self.path}.1")
        Path(self.path).touch()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def read_all(files: JsonFiles) -> list[int]:
    found: list[int] = []
    while records := files.read_raw():
        found += map(int, records)
    return found


def test_no_file_yet(tmp_path: Path) -> None:
    files = JsonFiles(str(tmp_path / "none.log"))
    files.seek_start()
    assert read_all(files) == []
    files.seek_tail(5)
    assert read_all(files) == []
    Writer(tmp_path)
    files.close()


@given(steps=st.lists(st.one_of(st.integers(0, 50), st.just("rotate"), st.just("read")), max_size=30))
@settings(deadline=None, max_examples=60)
def test_follow_sees_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    writer = Writer(tmp_path_factory.mktemp("log"))
    files = JsonFiles(writer.path)
    files.seek_start()
    found: list[int] = []
    for step in [*steps, "read"]:
        if step == "rotate":
            writer.rotate()
        elif step == "read":
            found += read_all(files)
        else:
            writer.write(int(step))
    files.close()
    assert found == list(range(writer.next))


@given(pieces=st.lists(st.integers(0, 40), min_size=1, max_size=6), count=st.integers(0, 300))
@settings(deadline=None, max_examples=60)
def test_tail_is_the_end_of_everything(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], count: int
) -> None:
    writer = Writer(tmp_path_factory.mktemp("log"))
    for position, piece in enumerate(pieces):
        if position:
            writer.rotate()
        writer.write(piece)
    files = JsonFiles(writer.path)
    files.seek_tail(count)
    want = list(range(writer.next))
    assert read_all(files) == (want[-count:] if count else [])
    writer.write(3)
    assert read_all(files) == [writer.next - 3, writer.next - 2, writer.next - 1]
    files.close()


def test_tail_across_blocks(writer: Writer) -> None:
    writer.write(100_000)
    files = JsonFiles(writer.path)
    for count in (1, 9_000, 20_000, 99_999, 100_000, 200_000):
        files.seek_tail(count)
        assert read_all(files)[0] == max(0, 100_000 - count)
    files.close()


def test_half_a_record_waits_for_its_end(writer: Writer) -> None:
    files = JsonFiles(writer.path)
    files.seek_start()
    with open(writer.path, "ab") as file:
        file.write(b"12")
        file.flush()
        assert files.read_raw() == []
        file.write(b"34\n")
        file.flush()
        assert files.read_raw() == [b"1234"]
    files.close()


def test_files_that_are_too_old_are_left_out(writer: Writer) -> None:
    writer.write(5)
    writer.rotate()
    os.utime(f"{writer.path}.1", (1000, 1000))
    writer.write(5)
    files = JsonFiles(writer.path)
    files.seek_start(since_ns=2000 * 10**9)
    assert read_all(files) == [5, 6, 7, 8, 9]
    files.close()


def test_file_that_was_deleted_while_read(writer: Writer) -> None:
    writer.write(10)
    files = JsonFiles(writer.path)
    files.seek_start()
    assert read_all(files) == list(range(10))
    for _ in range(3):
        writer.rotate()
        writer.write(10)
    os.unlink(f"{writer.path}.3")
    assert read_all(files) == list(range(10, 40))
    files.close()


def test_endless_record_does_not_fill_the_memory(writer: Writer) -> None:
    with open(writer.path, "ab") as file:
        file.write(b"x" * (3 << 20))
        file.write(b"\n7\n")
    files = JsonFiles(writer.path)
    files.seek_start()
    records: list[bytes] = []
    while more := files.read_raw():
        records += more
    assert records[-1] == b"7"
    assert sum(map(len, records)) < 2 << 20
    files.close()
