"""Logs of real containers: complete whatever dies, bounded whatever is written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.shim_kit import Box, Running, open_box, wait_until

from sampan.runtime.launcher.client import connect_shim, read_exit_record


@pytest.fixture(scope="module")
def module_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with open_box(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture
def box(module_box: Box) -> Iterator[Box]:
    yield module_box
    module_box.tidy()


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def memory_kib(pid: int, field: str = "Pss") -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(field)


def test_both_streams_in_order_with_times(box: Box) -> None:
    container = box.shell("echo one; usleep 1000; echo two >&2; usleep 1000; printf three")
    container.wait()
    entries = records(container.log)
    assert [(entry["log"], entry["stream"]) for entry in entries] == [
        ("one\n", "stdout"),
        ("two\n", "stderr"),
        ("three", "stdout"),
    ]
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


def test_complete_while_nobody_is_connected(box: Box) -> None:
    container = box.shell("i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done; exit 6")
    container.handle.close()  # as after kill -9 of sampand
    run_dir = container.request.run_dir
    wait_until(lambda: read_exit_record(run_dir), "the exit record is written")
    record = read_exit_record(run_dir)
    assert record is not None
    assert (record.id, record.code, record.signal) == (container.request.id, 6, 0)
    assert record.started_at < record.finished_at
    assert container.log_text() == "".join(f"line {number}\n" for number in range(10000))
    wait_until(lambda: not Path(run_dir, "shim.sock").exists(), "the shim ends by itself")
    box.running.remove(container)


def test_sampand_comes_back(box: Box) -> None:
    container = box.shell("trap 'exit 8' TERM; echo up; while :; do usleep 10000; done")
    before = container.handle
    before.close()
    wait_until(lambda: container.log.read_bytes(), "it logs on")
    handle = connect_shim(container.request.run_dir)
    assert (handle.pid, handle.start_ticks, handle.shim_pid) == (
        before.pid,
        before.start_ticks,
        before.shim_pid,
    )
    assert handle.started_at_ns == before.started_at_ns
    handle.signal(15)
    again = Running(handle, container.request, container.log, [])
    assert again.wait().code == 8
    handle.close()
    assert not Path(container.request.run_dir).exists()
    box.running.remove(container)


def test_rotation(box: Box) -> None:
    container = box.shell("seq 1 20000", log={"max_size": 100_000, "max_files": 3})
    container.wait()
    files = [Path(f"{container.log}.2"), Path(f"{container.log}.1"), container.log]
    assert all(file.stat().st_size <= 100_000 for file in files)
    assert not Path(f"{container.log}.3").exists()
    kept = [record["log"] for file in files for record in records(file)]
    assert kept == [f"{number}\n" for number in range(20001 - len(kept), 20001)]


def test_bytes_that_are_no_text(box: Box) -> None:
    container = box.shell(r"""printf 'a\377\376b\000\033[0m\r\n"\\\n'""")
    container.wait()
    assert container.log_text() == 'a\ufffd\ufffdb\0\033[0m\r\n"\\\n'


def test_line_of_100_mib_keeps_memory_flat(box: Box) -> None:
    container = box.shell("head -c 104857600 /dev/zero | tr '\\0' x; echo; sleep 60")
    peak = 0

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, memory_kib(container.handle.shim_pid, "Private_Dirty"))
        return last_bytes(container.log).startswith(b'{"log":"\\n",')

    wait_until(ended, "the long line's newline is logged", 60)
    container.kill()
    pieces = [record["log"] for record in records(Path(f"{container.log}.1"))]
    assert {len(piece) for piece in pieces} == {16384}
    print(f"peak of private memory while logging 100 MiB: {peak} KiB")
    assert peak < 8 * 1024


def last_bytes(path: Path) -> bytes:
    """Return what follows the last newline but one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200))
        return file.read().removesuffix(b"\n").rpartition(b"\n")[2]


def test_speed(box: Box) -> None:
    began = time.monotonic()
    container = box.shell(
        "yes 'a line of about eighty characters, as a web server would write to its log' | head -c 209715200"
    )
    container.wait(120)
    seconds = time.monotonic() - began
    print(f"logged 200 MiB at {200 / seconds:.0f} MiB/s")
    assert Path(f"{container.log}.1").exists()


def test_logging_can_be_off(box: Box) -> None:
    container = box.shell("echo x", log={"enabled": False})
    container.wait()
    assert not container.log.exists()


def test_full_disk_does_not_stop_the_container(box: Box) -> None:
    container = box.shell(
        "seq 1 100000 | tail -n 1 >&2; seq 1 100000; exit 5", log={"path": "/dev/full", "max_size": 0}
    )
    assert container.wait().code == 5
