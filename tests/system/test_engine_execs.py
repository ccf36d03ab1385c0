"""Further programs in a running container."""

from __future__ import annotations

import socket
import threading

import pytest
from tests.system.engine_kit import Box, read_until, wait_until
from tests.system.inner_cgroup import move_inside

from sampan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    InvalidArgument,
    NotFound,
    SampanError,
)
from sampan.spec import docker


@pytest.fixture(scope="module")
def box(shared: Box) -> Box:
    return shared


@pytest.fixture(scope="module")
def sleeper(box: Box) -> str:
    return box.start("sleep", "1000", Env=["A=container"], Hostname="web", WorkingDir="/srv", name="sleeper")


def test_output_and_code(box: Box, sleeper: str) -> None:
    done = box.exec(sleeper, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.code) == (b"out\n", b"err\n", 3)


def test_environment_and_directory_are_the_containers(box: Box, sleeper: str) -> None:
    done = box.exec(sleeper, "sh", "-c", "echo $A $B $HOSTNAME $HOME; pwd", Env=["B=exec"])
    assert done.stdout == b"container exec web /root\n/srv\n"
    assert box.exec(sleeper, "pwd", WorkingDir="/etc").stdout == b"/etc\n"
    assert box.exec(sleeper, "sh", "-c", "echo $A", Env=["A=mine"]).stdout == b"mine\n"


def test_init_that_moved_to_a_cgroup_inside_is_followed(box: Box) -> None:
    container = box.start("sleep", "1000")
    assert box.exec(container, "true").code == 0  # the shim knows the way in from now on
    move_inside(box.engine.containers.inspect(container).State.Pid)
    for _ in range(2):
        done = box.exec(container, "cat", "/proc/self/cgroup")
        assert (done.code, done.stderr) == (0, b"")
        assert done.stdout.splitlines()[-1].endswith(b"/inner")
    box.engine.containers.remove(container, force=True)


def test_user(box: Box, sleeper: str) -> None:
    done = box.exec(sleeper, "sh", "-c", "id -u; grep CapEff /proc/self/status", User="1234")
    assert done.stdout == b"1234\nCapEff:\t0000000000000000\n"
    with pytest.raises(InvalidArgument, match="unable to find user nosuch"):
        box.exec(sleeper, "true", User="nosuch")


def test_user_made_while_it_runs(box: Box, sleeper: str) -> None:
    box.exec(sleeper, "sh", "-c", "echo late:x:4242:4242::/late:/bin/sh >> /etc/passwd")
    assert box.exec(sleeper, "sh", "-c", "id -u; echo $HOME", User="late").stdout == b"4242\n/late\n"


def test_passwd_that_is_no_file(box: Box) -> None:
    """CVE-2024-9676: a FIFO must not hang the engine."""
    container_id = box.start("sleep", "1000")
    box.exec(container_id, "sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd")
    with pytest.raises(InvalidArgument, match="no regular file"):
        box.exec(container_id, "true")


def test_input(box: Box, sleeper: str) -> None:
    assert box.exec(sleeper, "cat", stdin=b"data\n" * 500).stdout == b"data\n" * 500


def test_terminal_and_resize(box: Box, sleeper: str) -> None:
    execs = box.engine.execs
    request = docker.ExecCreate(
        Cmd=["sh"], Tty=True, AttachStdin=True, AttachStdout=True, AttachStderr=True, ConsoleSize=[20, 70]
    )
    exec_id = execs.create(sleeper, request)
    mine, theirs = socket.socketpair()
    with mine, theirs:
        mine.settimeout(30)
        execs.start(exec_id, fd=theirs.fileno(), framed=False, detach=False, tty=True)
        theirs.close()
        mine.sendall(b"stty size\n")
        read_until(mine, b"20 70")
        execs.resize(exec_id, height=40, width=100)
        mine.sendall(b"stty size\n")
        read_until(mine, b"40 100")
        assert execs.inspect(exec_id).Running
        mine.sendall(b"exit 5\n")
        wait_until(lambda: execs.inspect(exec_id).ExitCode == 5, "the exit code")


def test_privileged_has_every_capability(box: Box, sleeper: str) -> None:
    plain = box.exec(sleeper, "grep", "CapEff", "/proc/self/status").stdout
    privileged = box.exec(sleeper, "grep", "CapEff", "/proc/self/status", Privileged=True).stdout
    assert int(plain.split()[1], 16) == 0xA80425FB
    assert int(privileged.split()[1], 16) > 0xA80425FB


def test_seccomp_is_on_in_every_exec(box: Box, sleeper: str) -> None:
    assert b"Seccomp:\t2" in box.exec(sleeper, "grep", "Seccomp:", "/proc/self/status").stdout


def test_detached(box: Box, sleeper: str) -> None:
    execs = box.engine.execs
    exec_id = execs.create(sleeper, docker.ExecCreate(Cmd=["sh", "-c", "exit 6"]))
    execs.start(exec_id, fd=None, framed=False, detach=True, tty=False)
    wait_until(lambda: execs.inspect(exec_id).ExitCode == 6, "the exit code")
    with pytest.raises(Conflict, match=f"exec command {exec_id} has already run"):
        execs.prepare_start(exec_id)


@pytest.mark.parametrize(
    ("command", "error", "code"),
    [(["nosuch"], CommandNotFound, 127), (["/etc"], CommandNotExecutable, 126)],
)
def test_command_that_cannot_run(
    box: Box, sleeper: str, command: list[str], error: type[SampanError], code: int
) -> None:
    exec_id = box.engine.execs.create(sleeper, docker.ExecCreate(Cmd=command, AttachStdout=True))
    with pytest.raises(error):
        box.engine.execs.start(exec_id, fd=None, framed=False, detach=True, tty=False)
    found = box.engine.execs.inspect(exec_id)
    assert (found.ExitCode, found.Running) == (code, False)


@pytest.mark.parametrize(
    ("request_", "match"),
    [
        (docker.ExecCreate(), "No exec command specified"),
        (docker.ExecCreate(Cmd=["a\0b"]), "NUL"),
        (docker.ExecCreate(Cmd=["true"], Env=["=x"]), "invalid environment variable"),
        (docker.ExecCreate(Cmd=["true"], WorkingDir="x"), "absolute path"),
        (docker.ExecCreate(Cmd=["true"], DetachKeys="nonsense"), "invalid detach keys"),
    ],
)
def test_wrong_requests(box: Box, sleeper: str, request_: docker.ExecCreate, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        box.engine.execs.create(sleeper, request_)


def test_exec_dies_and_goes_with_its_container(box: Box) -> None:
    container_id = box.start("sleep", "1000")
    execs = box.engine.execs
    exec_id = execs.create(container_id, docker.ExecCreate(Cmd=["sleep", "1000"]))
    execs.start(exec_id, fd=None, framed=False, detach=True, tty=False)
    assert box.engine.containers.inspect(container_id).ExecIDs == [exec_id]
    box.engine.containers.kill(container_id)
    wait_until(lambda: execs.inspect(exec_id).ExitCode == 137, "the exec has ended")
    with pytest.raises(Conflict, match="is not running"):
        execs.create(container_id, docker.ExecCreate(Cmd=["true"]))
    box.engine.containers.remove(container_id)
    with pytest.raises(NotFound, match=f"No such exec instance: {exec_id}"):
        execs.inspect(exec_id)


def test_a_container_that_ends_while_execs_start(box: Box) -> None:
    """Whatever the runtime met, it is the container that has ended, and no mistake of anybody."""
    wrong: list[object] = []

    def start(exec_id: str) -> None:
        try:
            box.engine.execs.start(exec_id, fd=None, framed=True, detach=True, tty=False)
        except Conflict as exc:
            if "is not running" not in str(exc):
                wrong.append(exc)
        except Exception as exc:
            wrong.append(exc)

    for number in range(5):
        container = box.start("sleep", "1000")
        ids = [box.engine.execs.create(container, docker.ExecCreate(Cmd=["true"])) for _ in range(6)]
        threads = [threading.Thread(target=start, args=(exec_id,)) for exec_id in ids]
        for thread in threads:
            thread.start()
            if thread is threads[number]:
                box.engine.containers.kill(container)
        for thread in threads:
            thread.join()
        box.engine.containers.remove(container, force=True)
    assert wrong == []


def test_many_at_once(box: Box, sleeper: str) -> None:
    execs = box.engine.execs
    ids = []
    for number in range(20):
        ids.append(execs.create(sleeper, docker.ExecCreate(Cmd=["sh", "-c", f"exit {number}"])))
        execs.start(ids[-1], fd=None, framed=False, detach=True, tty=False)
    for number, exec_id in enumerate(ids):
        wait_until(lambda: execs.inspect(exec_id).ExitCode is not None, "the exit code")  # noqa: B023 -- now
        assert execs.inspect(exec_id).ExitCode == number
