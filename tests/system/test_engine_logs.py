"""Logs of real containers: tail, rotation, follow, times."""

from __future__ import annotations

import select
import time

import pytest
from tests.system.engine_kit import DEADLINE_S, Box, wait_until

from sampan.engine.types import LogEntry, LogRequest
from sampan.errors import InvalidArgument
from sampan.spec import docker


@pytest.fixture(scope="module")
def box(shared: Box) -> Box:
    return shared


@pytest.fixture(scope="module")
def rotated(box: Box) -> str:
    """A container that wrote 2,000 lines into files of 32 KiB, all of which are kept."""
    config = docker.LogConfig(Config={"max-size": "32k", "max-file": "100"})
    return box.run("seq", "1", "2000", host={"LogConfig": config}).id


@pytest.mark.parametrize("tail", [None, 0, 1, 10, 700, 2000, 5000])
def test_tail_across_rotation(box: Box, rotated: str, tail: int | None) -> None:
    want = list(range(1, 2001)) if tail is None else list(range(1, 2001))[max(0, 2000 - tail) :]
    assert [int(entry.data) for entry in box.log(rotated, tail=tail)] == want


def test_old_files_are_deleted(box: Box) -> None:
    config = docker.LogConfig(Config={"max-size": "16k", "max-file": "2"})
    done = box.run("seq", "1", "2000", host={"LogConfig": config})
    numbers = [int(entry.data) for entry in box.log(done.id)]
    assert numbers[-1] == 2000
    assert len(numbers) < 1000
    assert numbers == list(range(numbers[0], 2001))


def test_streams(box: Box) -> None:
    done = box.run("sh", "-c", "echo one; sleep 0.05; echo two >&2")
    assert box.log(done.id, stderr=False) == [LogEntry(stream=1, data=b"one\n")]
    assert box.log(done.id, stdout=False) == [LogEntry(stream=2, data=b"two\n")]
    with pytest.raises(InvalidArgument, match="at least one of 'stdout' or 'stderr'"):
        box.log(done.id, stdout=False, stderr=False)


def test_timestamps_and_details(box: Box) -> None:
    (entry,) = box.log(box.run("echo", "hi").id, timestamps=True, details=True)
    stamp, details, text = entry.data.split(b" ", 2)
    assert len(stamp) == len("2006-01-02T15:04:05.000000000Z")
    assert (details, text) == (b"", b"hi\n")


def test_since_and_until(box: Box) -> None:
    done = box.run("sh", "-c", "echo one; sleep 0.2; echo two")
    first, second = box.log(done.id, timestamps=True)
    split = _time_ns(first) + 100_000_000
    assert _time_ns(second) > split
    assert box.log_text(done.id, since_ns=split) == b"two\n"
    assert box.log_text(done.id, until_ns=split) == b"one\n"


def _time_ns(entry: LogEntry) -> int:
    stamp = entry.data.split()[0].decode()
    whole = time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
    import calendar

    return calendar.timegm(whole) * 10**9 + int(stamp[20:29])


def test_output_that_is_not_text(box: Box) -> None:
    done = box.run("printf", r"\377\000ok\n")
    assert done.stdout == b"\xff\x00ok\n"
    assert box.log_text(done.id) == "\ufffd\0ok\n".encode()


def test_long_line_is_whole_again(box: Box) -> None:
    done = box.run("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo")
    assert box.log_text(done.id) == b"x" * 100_000 + b"\n"
    assert len(box.log(done.id)) > 1


@pytest.mark.parametrize("max_size", ["20m", "4k"])
def test_follow_to_the_end(box: Box, max_size: str) -> None:
    config = docker.LogConfig(Config={"max-size": max_size, "max-file": "100"})
    container_id = box.start(
        "sh",
        "-c",
        "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; sleep 0.001; done",
        host={"LogConfig": config},
    )
    entries: list[LogEntry] = []
    deadline = time.monotonic() + DEADLINE_S
    with box.engine.containers.logs(container_id, LogRequest(follow=True)) as reader:
        while not reader.finished:
            assert time.monotonic() < deadline
            entries += reader.read_available()
            if not reader.finished:
                select.select([reader.fileno()], [], [], 5)
    assert [int(entry.data) for entry in entries] == list(range(1, 501))


def test_follow_wakes_for_a_line_and_for_the_end(box: Box) -> None:
    container_id = box.start("cat", OpenStdin=True)
    with (
        box.attach(container_id, stdin=True) as client,
        box.engine.containers.logs(container_id, LogRequest(follow=True)) as reader,
    ):
        assert reader.read_available() == []
        client.sendall(b"a line\n")
        wait_until(lambda: select.select([reader.fileno()], [], [], 0)[0], "the reader wakes")
        got: list[LogEntry] = []
        wait_until(lambda: got.extend(reader.read_available()) or got, "the line is there")
        assert got == [LogEntry(stream=1, data=b"a line\n")]
        box.engine.containers.kill(container_id)
        wait_until(lambda: select.select([reader.fileno()], [], [], 0)[0], "the reader wakes")
        wait_until(lambda: reader.read_available() == [] and reader.finished, "the reader is done")


def test_follow_of_an_ended_container_ends(box: Box) -> None:
    done = box.run("echo", "hi")
    with box.engine.containers.logs(done.id, LogRequest(follow=True)) as reader:
        assert [entry.data for entry in reader.read_available()] == [b"hi\n"]
        reader.read_available()
        assert reader.finished
