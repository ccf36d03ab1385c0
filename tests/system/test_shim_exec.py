"""Further processes in a running container, as `docker exec` needs them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.shim_kit import Box, Client, Running, exec_process, open_box, process_lives, wait_until

from sampan.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidArgument, NotFound
from sampan.runtime.launcher.client import ExecExited, ExecStart, Exited


@pytest.fixture(scope="module")
def module_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with open_box(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture
def container(module_box: Box) -> Iterator[Running]:
    yield module_box.start(["sleep", "1000"])
    module_box.tidy()


def run(container: Running, script: str, client: Client | None = None, **options: object) -> str:
    """Start `sh -c script` and return its exec id."""
    exec_id = f"exec-{time.monotonic_ns()}"
    request = ExecStart(
        exec_id=exec_id,
        process=exec_process(["/bin/sh", "-c", script]),
        attach=None if client is None else client.request,
        **options,  # type: ignore[arg-type]  # terminal, console_size
    )
    container.handle.exec(request)
    if client is not None:
        client.handed_over()
    return exec_id


def open_way_in(container: Running) -> None:
    """Run a first exec: with it the shim opens what it keeps for all others."""
    before = open_sockets(container)
    run(container, "true")
    container.finish_exec()
    wait_until(lambda: open_sockets(container) == before, "its connections are closed")


def open_sockets(container: Running) -> int:
    """Return how many sockets the shim holds."""
    folder = Path(f"/proc/{container.handle.shim_pid}/fd")
    count = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(folder / name).startswith("socket:")
    return count


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -15 $$", 143)],
    ids=["success", "a code", "killed", "terminated"],
)
def test_exit_code(container: Running, script: str, code: int) -> None:
    client = Client(framed=True)
    exec_id = run(container, script, client)
    event = container.finish_exec()
    assert (event.exec_id, event.code) == (exec_id, code)
    assert client.outputs() == (b"", b"")


def test_output_comes_before_the_event_and_the_end_after_it(container: Running) -> None:
    client = Client(framed=True)
    run(container, "echo out; echo err >&2; exit 3", client)
    event = container.next_event(ExecExited)
    raw = client.sock.recv(1 << 16)  # everything is there already, and the connection is still open
    client.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    container.handle.acknowledge(event)
    assert client.read_all() == b""
    assert b"out\n" in raw
    assert b"err\n" in raw


def test_without_acknowledgement_the_stream_ends_all_the_same(container: Running) -> None:
    client = Client(framed=True)
    run(container, "echo x", client)
    assert client.outputs() == (b"x\n", b"")


def test_input_with_half_close(container: Running) -> None:
    client = Client(framed=True, stdin=True)
    run(container, "cat; echo done", client)
    client.send(b"typed\n")
    client.end_input()
    assert client.read_until(b"done\n")
    container.finish_exec()


def test_close_stdin(container: Running) -> None:
    client = Client(framed=True, stdin=True)
    exec_id = run(container, "cat; exit 4", client)
    container.handle.close_stdin(exec_id)
    assert container.finish_exec().code == 4


def test_terminal_and_resize(container: Running) -> None:
    client = Client(framed=False, stdin=True)
    script = "stty size; read x; stty size; exit 5"
    exec_id = run(container, script, client, terminal=True, console_size=(10, 20))
    client.read_until(b"10 20\r\n")
    container.handle.resize(30, 40, exec_id)
    client.send(b"\n")
    client.read_until(b"30 40\r\n")
    assert container.finish_exec().code == 5
    with pytest.raises(NotFound):
        container.handle.resize(1, 1, exec_id)


def test_detached(container: Running) -> None:
    run(container, "cat; echo nobody hears this; exit 6")
    assert container.finish_exec().code == 6
    run(container, "stty size && exit 7", terminal=True)
    assert container.finish_exec().code == 7


def test_sees_the_container_only(container: Running) -> None:
    client = Client(framed=True)
    run(
        container, "ls -l /proc/self/fd | wc -l; grep -E 'CapEff|SigIgn|SigBlk' /proc/self/status; ps", client
    )
    event = container.next_event(ExecExited)
    container.handle.acknowledge(event)
    out = client.outputs()[0].decode()
    assert "SigBlk:\t0000000000000000" in out
    assert "SigIgn:\t0000000000000000" in out
    assert "sleep 1000" in out
    assert "python" not in out
    assert "sampan-launcher" not in out


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (["no-such-program"], CommandNotFound, "executable file not found"),
        (["/bin/missing"], CommandNotFound, "no such file or directory"),
        (["/etc"], CommandNotExecutable, "directory|permission denied"),
    ],
)
def test_program_that_cannot_run(
    container: Running, args: list[str], error: type[Exception], text: str
) -> None:
    open_way_in(container)
    descriptors = Path(f"/proc/{container.handle.shim_pid}/fd")
    before = len(list(descriptors.iterdir()))
    client = Client(framed=True)
    with pytest.raises(error, match=text):
        container.handle.exec(ExecStart(exec_id="bad", process=exec_process(args), attach=client.request))
    wait_until(lambda: len(list(descriptors.iterdir())) == before, "descriptors are closed")
    container.handle.signal(0)


def test_wrong_process_document(container: Running) -> None:
    with pytest.raises(InvalidArgument, match="args"):
        container.handle.exec(ExecStart(exec_id="bad", process=exec_process([])))


def test_large_environment(container: Running) -> None:
    client = Client(framed=True)
    process = exec_process(["/bin/sh", "-c", "echo ${#BIG1} ${#BIG2}"])
    process["env"] += [f"BIG{number}={'x' * 120_000}" for number in (1, 2)]
    container.handle.exec(ExecStart(exec_id="big", process=process, attach=client.request))
    client.handed_over()
    container.handle.acknowledge(container.next_event(ExecExited))
    assert client.outputs()[0] == b"120000 120000\n"


def test_ends_with_the_container(container: Running) -> None:
    client = Client(framed=True)
    run(container, "sleep 1000", client)
    container.handle.signal(9)
    assert container.next_event(ExecExited).code == 137
    assert container.wait().code == 137
    assert client.outputs() == (b"", b"")


def test_background_child_does_not_hold_the_stream(container: Running) -> None:
    client = Client(framed=True)
    began = time.monotonic()
    run(container, "sleep 500 & echo now", client)
    assert client.outputs()[0] == b"now\n"
    assert time.monotonic() - began < 20


def test_descriptors_of_the_shim_return_to_their_number(container: Running) -> None:
    open_way_in(container)
    descriptors = Path(f"/proc/{container.handle.shim_pid}/fd")
    before = sorted(path.name for path in descriptors.iterdir())
    for number in range(20):
        client = Client(framed=number % 2 == 0, stdin=True)
        run(container, "echo x", client, terminal=number % 2 == 1)
        container.finish_exec()
        client.read_all()
        client.close()
    wait_until(
        lambda: sorted(path.name for path in descriptors.iterdir()) == before, "descriptors are closed"
    )


def test_not_after_the_end(container: Running) -> None:
    container.handle.signal(9)
    container.next_event(Exited)
    with pytest.raises(Conflict, match="ended"):
        container.handle.exec(ExecStart(exec_id="late", process=exec_process(["true"])))
    with pytest.raises(Conflict, match="ended"):
        container.handle.signal(15)
    container.handle.release()
    wait_until(lambda: not process_lives(container.handle.shim_pid), "the shim ends")
    with pytest.raises(NotFound):
        container.handle.signal(15)
