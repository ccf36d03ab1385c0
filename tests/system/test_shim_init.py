"""`--init`: PID 1 is ours; it reaps, passes signals on, and ends with the program's code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.shim_kit import Box, Client, open_box

from sampan.errors import CommandNotExecutable, CommandNotFound


@pytest.fixture(scope="module")
def module_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with open_box(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture
def box(module_box: Box) -> Iterator[Box]:
    yield module_box
    module_box.tidy()


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -15 $$", 143)],
    ids=["success", "a code", "killed", "terminated"],
)
def test_ends_with_the_program(box: Box, script: str, code: int) -> None:
    assert box.shell(script, init=True).wait().code == code


def test_signal_reaches_the_program(box: Box) -> None:
    client = Client(framed=True)
    script = "trap 'echo got it; exit 7' TERM; echo ready; while :; do usleep 10000; done"
    container = box.shell(script, client, init=True)
    client.read_until(b"ready\n")
    container.handle.signal(15)
    assert client.outputs()[0].endswith(b"got it\n")
    assert container.wait().code == 7


def test_program_without_a_handler_ends_by_a_signal(box: Box) -> None:
    """As PID 1 it would ignore it: that is what --init is for."""
    client = Client(framed=True)
    container = box.shell("echo ready; exec sleep 1000", client, init=True)
    client.read_until(b"ready\n")
    container.handle.signal(15)
    assert container.wait().code == 143


def test_orphans_are_reaped(box: Box) -> None:
    client = Client(framed=True)
    script = """
    for n in 1 2 3 4 5; do (sleep 0.01 &) ; done
    while grep -ls '^Name:.sleep' /proc/[0-9]*/status >/dev/null; do usleep 10000; done
    cat /proc/1/comm
    """
    container = box.shell(script, client, init=True)
    assert client.outputs()[0] == b"sampan-init\n"
    assert container.wait().code == 0


def test_command_line_of_init(box: Box) -> None:
    """As docker-init's: what `ps` and `top` show is the program behind `--`, not who made the container."""
    client = Client(framed=True)
    container = box.shell("tr '\\0' '|' < /proc/1/cmdline", client, init=True)
    assert client.outputs()[0].rstrip(b"|") == b"sampan-init|--|/bin/sh|-c|tr '\\0' '|' < /proc/1/cmdline"
    container.wait()
    long = box.start(["sh", "-c", "exec sleep 1000", "x" * 5000], init=True)
    shown = Path(f"/proc/{long.handle.pid}/cmdline").read_bytes()
    assert shown.startswith(b"sampan-init\0--\0sh\0-c\0exec sleep 1000\0xxx")
    assert shown.endswith(b"x\0")
    long.handle.kill_all()
    long.wait()


def test_interrupt_key_reaches_the_program_once(box: Box) -> None:
    client = Client(framed=False, stdin=True)
    script = """
    trap 'n=x$n' INT; echo ready
    while [ "$n" != x ]; do usleep 10000; done; usleep 50000; echo n=$n
    """
    container = box.shell(script, client, init=True, terminal=True, open_stdin=True)
    client.read_until(b"ready")
    client.send(b"\x03")
    assert client.read_all().endswith(b"n=x\r\n")
    assert container.wait().code == 0


def test_shows_nothing_of_the_host(box: Box) -> None:
    client = Client(framed=True)
    script = """
    ls /proc/1/fd; readlink /proc/1/exe; cat /proc/1/environ; cat /proc/1/maps
    grep -E '^CapInh|^SigIgn' /proc/1/status
    """
    container = box.shell(script, client, init=True)
    out, err = client.outputs()
    container.wait()
    assert out == b"SigIgn:\t0000000000000000\nCapInh:\t0000000000000000\n"
    assert err.lower().count(b"permission denied") >= 2


@pytest.mark.parametrize(
    ("args", "error"), [(["missing"], CommandNotFound), (["/etc"], CommandNotExecutable)]
)
def test_program_that_cannot_run(box: Box, args: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        box.start(args, init=True)
