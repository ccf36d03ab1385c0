"""The life of containers through the engine's own door: create, start, end, remove."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.engine_kit import (
    DEADLINE_S,
    Box,
    Waiter,
    alive,
    own_descriptors,
    read_all,
    read_until,
    wait_until,
)

from sampan.engine.types import WaitResult
from sampan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    InvalidArgument,
    NotFound,
    NotModified,
    SampanError,
    Unsupported,
)
from sampan.kernel.cgroups import detect
from sampan.spec import docker


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    yield shared
    shared.remove_all()
    assert shared.leftovers() == []


def test_output_code_and_state(box: Box) -> None:
    done = box.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.code, done.error) == (b"out\n", b"err\n", 3, "")
    state = box.state(done.id)
    assert (state.Status, state.ExitCode, state.Running, state.Pid) == ("exited", 3, False, 0)
    assert state.StartedAt < state.FinishedAt
    assert box.log_text(done.id) == b"out\nerr\n"


def test_stdin_is_closed_with_the_clients_half(box: Box) -> None:
    assert box.run("cat", stdin=b"some data\n" * 1000).stdout == b"some data\n" * 1000


def test_terminal(box: Box) -> None:
    done = box.run("sh", "-c", "stty size; tty", Tty=True, host={"ConsoleSize": [33, 77]})
    assert done.stdout == b"33 77\r\n/dev/pts/0\r\n"


def test_environment_user_and_directory(box: Box) -> None:
    done = box.run(
        "sh",
        "-c",
        "echo $A $HOME $HOSTNAME; echo $(id -u) $(id -g) $(id -G); pwd; hostname",
        Env=["A=1"],
        User="1234:5",
        WorkingDir="/new/folder",
        Hostname="web",
    )
    assert done.stdout == b"1 / web\n1234 5 5\n/new/folder\nweb\n"


def test_posture_seen_from_inside(box: Box) -> None:
    done = box.run("cat", "/proc/self/status", "/proc/self/limits")
    status = done.stdout.decode()
    assert re.search(r"CapEff:\s+00000000a80425fb", status)
    assert re.search(r"CapInh:\s+0+\n", status)
    assert re.search(r"CapAmb:\s+0+\n", status)
    assert re.search(r"Seccomp:\s+2", status)
    assert re.search(r"NoNewPrivs:\s+0", status)
    assert re.search(r"Max core file size\s+0 ", status)


@pytest.mark.parametrize(
    ("command", "error", "code"),
    [
        pytest.param(["/nosuch"], CommandNotFound, 127, id="no such file"),
        pytest.param(["nosuch"], CommandNotFound, 127, id="not in PATH"),
        pytest.param(["/etc"], CommandNotExecutable, 126, id="a directory"),
        pytest.param(["/etc/passwd"], CommandNotExecutable, 126, id="not executable"),
    ],
)
def test_command_that_cannot_run(box: Box, command: list[str], error: type[SampanError], code: int) -> None:
    container_id = box.create(*command)
    waiter = Waiter()
    box.engine.containers.on_exit(container_id, "next-exit", waiter)
    with box.attach(container_id) as client:
        with pytest.raises(error) as caught:
            box.engine.containers.start(container_id)
        assert read_all(client) == b""
    assert re.search("no such file|not found|permission denied|is a directory", str(caught.value).lower())
    state = box.state(container_id)
    assert (state.Status, state.ExitCode, state.Error) == ("created", code, str(caught.value))
    assert waiter.get() == WaitResult(status_code=code)  # docker's client would print an error a second time
    assert box.wait(container_id) == WaitResult(status_code=code, error=str(caught.value))


def test_failed_start_of_an_auto_remove_container(box: Box) -> None:
    container_id = box.create("/nosuch", host={"AutoRemove": True})
    waiter = Waiter()
    box.engine.containers.on_exit(container_id, "removed", waiter)
    with pytest.raises(CommandNotFound):
        box.engine.containers.start(container_id)
    assert waiter.get().status_code == 127
    with pytest.raises(NotFound):
        box.engine.containers.inspect(container_id)


def test_auto_remove(box: Box) -> None:
    container_id = box.create("sh", "-c", "exit 7", host={"AutoRemove": True}, name="gone")
    waiter = Waiter()
    box.engine.containers.on_exit(container_id, "removed", waiter)
    box.engine.containers.start(container_id)
    assert waiter.get().status_code == 7
    with pytest.raises(NotFound, match="No such container: gone"):
        box.engine.containers.inspect("gone")
    assert box.create("true", name="gone")


def test_start_twice(box: Box) -> None:
    container_id = box.start("sleep", "100")
    with pytest.raises(NotModified):
        box.engine.containers.start(container_id)


def test_start_again_after_the_end(box: Box) -> None:
    container_id = box.start("sh", "-c", "echo run >> /count; cat /count")
    box.wait(container_id)
    box.engine.containers.start(container_id)
    box.wait(container_id)
    assert box.log_text(container_id) == b"run\nrun\nrun\n"


def test_stop_of_a_program_that_heeds_it(box: Box) -> None:
    container_id = box.start("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until(lambda: box.log_text(container_id) == b"ready\n", "the trap is set")
    box.engine.containers.stop(container_id)
    assert box.state(container_id).ExitCode == 5
    with pytest.raises(NotModified):
        box.engine.containers.stop(container_id)


def test_stop_of_a_program_that_ignores_it(box: Box) -> None:
    container_id = box.start("sh", "-c", "trap '' TERM; echo ready; sleep 100", StopTimeout=0)
    wait_until(lambda: box.log_text(container_id) == b"ready\n", "the trap is set")
    box.engine.containers.stop(container_id)
    assert box.state(container_id).ExitCode == 137


def test_stop_signal_of_the_container(box: Box) -> None:
    container_id = box.start(
        "sh", "-c", "trap 'exit 6' USR1; echo ready; while :; do sleep 0.1; done", StopSignal="SIGUSR1"
    )
    wait_until(lambda: box.log_text(container_id) == b"ready\n", "the trap is set")
    box.engine.containers.stop(container_id, timeout_s=-1)
    assert box.state(container_id).ExitCode == 6


def test_kill(box: Box) -> None:
    container_id = box.start("sleep", "100")
    box.engine.containers.kill(container_id)
    assert box.state(container_id).ExitCode == 137
    ref = container_id[:12]
    with pytest.raises(
        Conflict, match=f"cannot kill container: {ref}: container {container_id} is not running"
    ):
        box.engine.containers.kill(ref, "TERM")


def test_kill_with_an_unknown_signal(box: Box) -> None:
    container_id = box.start("sleep", "100")
    with pytest.raises(InvalidArgument, match="invalid signal: NOSUCH"):
        box.engine.containers.kill(container_id, "NOSUCH")
    assert box.state(container_id).Running


def test_restart(box: Box) -> None:
    container_id = box.start("sleep", "100")
    pid = box.state(container_id).Pid
    box.engine.containers.restart(container_id, timeout_s=0)
    state = box.state(container_id)
    assert state.Running
    assert state.Pid != pid
    assert not alive(pid)


def test_restart_keeps_an_auto_remove_container(box: Box) -> None:
    container_id = box.start("sleep", "100", host={"AutoRemove": True})
    box.engine.containers.restart(container_id, timeout_s=0)
    assert box.state(container_id).Running
    waiter = Waiter()
    box.engine.containers.on_exit(container_id, "removed", waiter)
    box.engine.containers.kill(container_id)
    assert waiter.get().status_code == 137


def test_pause_and_unpause(box: Box) -> None:
    container_id = box.start("sh", "-c", "while :; do echo tick; sleep 0.02; done")
    containers = box.engine.containers
    wait_until(lambda: box.log_text(container_id), "it ticks")
    containers.pause(container_id)
    assert box.state(container_id).Status == "paused"
    frozen = Path(f"/proc/{box.state(container_id).Pid}/wchan")
    assert frozen.exists()
    with pytest.raises(Conflict, match="is already paused"):
        containers.pause(container_id)
    with pytest.raises(Conflict, match="cannot start a paused container, try unpause instead"):
        containers.start(container_id)
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        box.exec(container_id, "true")
    with pytest.raises(Conflict, match="is paused, unpause the container before attach"):
        containers.prepare_attach(container_id)
    with pytest.raises(Conflict, match="cannot remove container"):
        containers.remove(container_id)
    before = len(box.log_text(container_id))
    containers.unpause(container_id)
    wait_until(lambda: len(box.log_text(container_id)) > before, "it goes on")
    with pytest.raises(SampanError, match="is not paused"):
        containers.unpause(container_id)
    containers.pause(container_id)
    containers.kill(container_id)
    assert box.state(container_id).ExitCode == 137


def test_remove_a_running_container(box: Box) -> None:
    container_id = box.start("sleep", "100", name="runs")
    with pytest.raises(
        Conflict, match='cannot remove container "/runs": container is running: stop the container'
    ):
        box.engine.containers.remove("runs")
    pid = box.state("runs").Pid
    box.engine.containers.remove("runs", force=True)
    assert not alive(pid)
    with pytest.raises(NotFound):
        box.engine.containers.remove(container_id)


def test_names(box: Box) -> None:
    first = box.create("true", name="web")
    conflict = re.escape(f'Conflict. The container name "/web" is already in use by container "{first}".')
    with pytest.raises(Conflict, match=conflict):
        box.create("true", name="web")
    with pytest.raises(InvalidArgument, match=re.escape("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")):
        box.create("true", name="a b")
    second = box.create("true")
    assert re.fullmatch(r"/[a-z]+_[a-z]+\d*", box.engine.containers.inspect(second).Name)
    with pytest.raises(Conflict):
        box.engine.containers.rename(second, "web")
    with pytest.raises(InvalidArgument, match="same name as its current name"):
        box.engine.containers.rename("web", "web")
    box.engine.containers.rename("web", "shop")
    assert box.engine.containers.inspect("/shop").Id == first
    assert box.engine.containers.inspect(first[:10]).Id == first
    box.create("true", name="web")


def test_one_of_many_starts_wins(box: Box) -> None:
    container_id = box.create("sleep", "100", name="once")
    outcomes: list[str] = []

    def start() -> None:
        try:
            box.engine.containers.start("once")
            outcomes.append("started")
        except NotModified:
            outcomes.append("was running")

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["started"] + ["was running"] * 7
    assert box.state(container_id).Running


def test_one_of_many_creates_of_a_name_wins(box: Box) -> None:
    outcomes: list[object] = []

    def create() -> None:
        try:
            outcomes.append(box.create("true", name="single"))
        except Conflict as exc:
            outcomes.append(exc)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len([outcome for outcome in outcomes if isinstance(outcome, str)]) == 1
    assert len(box.engine.containers.list(all=True)) == 1


@pytest.mark.parametrize(
    ("condition", "running_first"), [("not-running", True), ("next-exit", True), ("removed", False)]
)
def test_wait(box: Box, condition: str, running_first: bool) -> None:
    container_id = box.create("sh", "-c", "exit 4")
    waiter = Waiter()
    if not running_first:
        box.engine.containers.on_exit(container_id, condition, waiter)  # type: ignore[arg-type]  # table above
        box.engine.containers.remove(container_id)
        assert waiter.get().status_code == 0
        return
    box.engine.containers.start(container_id)
    if condition == "not-running":
        box.wait(container_id)
    else:
        box.engine.containers.on_exit(container_id, "next-exit", waiter)
        box.wait(container_id)
        if not waiter.done.is_set():  # it had ended before we asked: the present state never counts
            box.engine.containers.start(container_id)
        assert waiter.get().status_code == 4
    box.engine.containers.on_exit(container_id, "not-running", late := Waiter())
    assert late.get().status_code == 4


def test_cancelled_wait_is_not_called(box: Box) -> None:
    container_id = box.create("true")
    called: list[WaitResult] = []
    box.engine.containers.on_exit(container_id, "next-exit", called.append).cancel()
    box.engine.containers.start(container_id)
    box.wait(container_id)
    assert called == []


def test_attach_while_it_runs(box: Box) -> None:
    container_id = box.start("cat", OpenStdin=True)
    with box.attach(container_id, stdin=True) as client:
        client.sendall(b"hello\n")
        assert b"hello\n" in read_until(client, b"hello\n")
    with box.attach(container_id, stdin=True, logs=True) as client:
        assert b"hello\n" in read_until(client, b"hello\n")
        client.shutdown(socket.SHUT_WR)
    assert box.state(container_id).Running  # StdinOnce was not asked for


def test_detach_keys(box: Box) -> None:
    seen: list[docker.Event] = []
    subscription = box.engine.events.subscribe(seen.append, filters={"event": ["detach"]})
    container_id = box.start("cat", OpenStdin=True, Tty=True)
    with box.attach(container_id, framed=False, stdin=True, detach_keys="ctrl-x,q") as client:
        client.sendall(b"\x18q")
        read_all(client)
    assert box.state(container_id).Running
    wait_until(lambda: seen, "the detach event")
    subscription.cancel()


def test_resize(box: Box) -> None:
    container_id = box.start("sh", Tty=True, OpenStdin=True)
    with box.attach(container_id, framed=False, stdin=True) as client:
        box.engine.containers.resize(container_id, height=40, width=100)
        client.sendall(b"stty size\n")
        read_until(client, b"40 100")
    box.engine.containers.kill(container_id)
    with pytest.raises(Conflict, match="is not running"):
        box.engine.containers.resize(container_id, height=1, width=1)


def test_top(box: Box) -> None:
    container_id = box.start("sh", "-c", "sleep 1000 & sleep 1001; true")
    wait_until(lambda: len(box.engine.containers.top(container_id).Processes) == 3, "three processes")
    found = box.engine.containers.top(container_id, "-eo pid,args")
    assert found.Titles == ["PID", "COMMAND"]
    assert "sleep 1001" in [row[1] for row in found.Processes]
    with pytest.raises(InvalidArgument, match="PID column"):
        box.engine.containers.top(container_id, "-eo pid=PID")


def test_limits_reach_the_kernel(box: Box) -> None:
    container_id = box.start(
        "sleep", "100", host={"Memory": 32 << 20, "PidsLimit": 50, "CpuShares": 512, "NanoCpus": 10**8}
    )
    values = box.engine.containers.anatomy(container_id)["may_use"]["cgroups"]  # type: ignore[index,call-overload]  # nested JSON
    flat = {key: value for group in values.values() for key, value in group.items()}
    assert flat["pids.max"] == "50"
    if detect().kind == "v2":
        assert flat["memory.max"] == str(32 << 20)
        assert 1 < int(flat["cpu.weight"]) < 100  # 100 is the weight of 1024 shares
        assert flat["cpu.max"] == "10000 100000"
    else:
        assert flat["memory.limit_in_bytes"] == str(32 << 20)
        assert flat["cpu.shares"] == "512"
        assert flat["cpu.cfs_quota_us"] == "10000"


def test_oom_kill_is_told(box: Box) -> None:
    container_id = box.start(
        "sh", "-c", "head -c 100m /dev/zero | tail", host={"Memory": 16 << 20, "MemorySwap": 16 << 20}
    )
    box.wait(container_id)
    state = box.state(container_id)
    assert state.OOMKilled
    assert state.ExitCode == 137 or state.ExitCode == 1


def test_update(box: Box) -> None:
    container_id = box.start("sleep", "100", host={"PidsLimit": 50})
    box.engine.containers.update(container_id, docker.ContainerUpdate(PidsLimit=60))
    values = box.engine.containers.anatomy(container_id)["may_use"]["cgroups"]  # type: ignore[index,call-overload]  # nested JSON
    assert any(group.get("pids.max") == "60" for group in values.values())
    assert box.engine.containers.inspect(container_id).HostConfig.PidsLimit == 60


def test_init_reaps_and_forwards(box: Box) -> None:
    done = box.run("sh", "-c", "echo $$; exit 9", host={"Init": True})
    assert done.code == 9
    assert done.stdout.strip() != b"1"
    container_id = box.start("sleep", "100", host={"Init": True})
    box.engine.containers.stop(container_id, timeout_s=-1)
    assert box.state(container_id).ExitCode == 128 + signal.SIGTERM


def test_no_log_driver(box: Box) -> None:
    done = box.run("echo", "hi", host={"LogConfig": docker.LogConfig(Type="none")})
    assert done.stdout == b"hi\n"
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        box.log(done.id)


def test_refusals_leave_nothing(box: Box) -> None:
    for host in (
        {"CapAdd": ["NOSUCH"]},
        {"Memory": 1},
        {"Devices": [docker.DeviceMapping(PathOnHost="/dev/nosuch")]},
        {"Runtime": "nosuch"},
        {"PidMode": "nonsense"},
        {"Binds": ["/proc/nosuch/deep:/x"]},
        {"Sysctls": {"kernel.core_pattern": "|/bin/x"}},
        {"SecurityOpt": ["seccomp={"]},
    ):
        with pytest.raises(SampanError):
            box.create("true", name="same", host=host)
    with pytest.raises(NotFound, match="No such image: nosuch:latest"):
        box.create("true", name="same", Image="nosuch")
    with pytest.raises(InvalidArgument, match="no command specified"):
        box.create(name="same", Entrypoint=[""])
    assert box.leftovers() == []
    assert box.create("true", name="same")


def test_unknown_user_fails_the_start(box: Box) -> None:
    container_id = box.create("true", User="nosuch")
    with pytest.raises(InvalidArgument, match="unable to find user nosuch"):
        box.engine.containers.start(container_id)
    assert box.state(container_id).ExitCode == 128


def test_image_in_use(box: Box) -> None:
    container_id = box.create("true")
    with pytest.raises(Conflict, match=f"container {container_id[:12]} is using its referenced image"):
        box.engine.images.remove("busybox")


def test_census_after_fifty_containers(box: Box) -> None:
    for _ in range(5):
        box.run("true", host={"AutoRemove": True})
    box.remove_all()
    assert box.engine.settle(30)
    before = own_descriptors(box), threading.active_count()
    for number in range(50):
        container_id = box.start("sleep", "100", name=f"c{number}")
        if number % 2:
            box.engine.containers.kill(container_id)
            box.engine.containers.remove(container_id)
        else:
            box.engine.containers.remove(container_id, force=True)
    assert box.engine.settle(30)
    assert box.leftovers() == []
    assert (own_descriptors(box), threading.active_count()) == before


@pytest.mark.peers
def test_another_runtime(box: Box) -> None:
    done = box.run("sh", "-c", "echo from runc; exit 4", host={"Runtime": "runc"})
    assert (done.stdout, done.code) == (b"from runc\n", 4)
    container_id = box.start("sleep", "100", host={"Runtime": "runc"})
    assert box.exec(container_id, "echo", "in runc").stdout == b"in runc\n"
    box.engine.containers.pause(container_id)
    box.engine.containers.unpause(container_id)
    box.engine.containers.stop(container_id, timeout_s=0)
    assert box.state(container_id).ExitCode == 137
    with pytest.raises(InvalidArgument, match="Init works with the runtime sampan only"):
        box.create("true", host={"Runtime": "runc", "Init": True})


def test_a_signal_at_the_first_word_is_not_too_early(box: Box) -> None:
    """The program's output overtakes the record of its start; one that answers at once is heard."""
    for _ in range(10):
        container_id = box.create("sh", "-c", "trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done")
        waiter = Waiter()
        box.engine.containers.on_exit(container_id, "next-exit", waiter)
        with box.attach(container_id) as client, ThreadPoolExecutor(1) as pool:
            started = pool.submit(box.engine.containers.start, container_id)
            assert client.recv(64).endswith(b"ready\n")
            box.engine.containers.kill(container_id, "TERM")
            started.result()
        assert waiter.get().status_code == 8


@pytest.mark.parametrize("logs", [False, True])
def test_who_is_answered_is_queued(box: Box, logs: bool) -> None:
    """A start that follows the answer to an attach by another connection never overtakes the attach."""
    container_id = box.create("echo", "all of it")
    mine, theirs = socket.socketpair()
    answered = threading.Event()
    with mine, ThreadPoolExecutor(1) as pool:

        def begin() -> None:
            answered.set()
            time.sleep(0.05)  # opens the race: the start gets as far as it can before the attach goes on

        def start() -> None:
            answered.wait(DEADLINE_S)
            box.engine.containers.start(container_id)

        started = pool.submit(start)
        box.engine.containers.attach(
            container_id, fd=theirs.fileno(), framed=False, stdin=False, stdout=True, stderr=True,
            logs=logs, begin=begin,
        )  # fmt: skip
        theirs.close()
        mine.settimeout(DEADLINE_S)
        started.result()
        assert read_all(mine) == b"all of it\n"


def test_compiled_filters_lie_in_the_data_root(box: Box) -> None:
    box.run("true")
    assert list((box.folder / "data" / "cache" / "seccomp").iterdir()) != []
