"""sampand may be killed at any moment: a process that hosts an engine is; the next one finds everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.engine_kit import Box, alive, wait_until

from sampan.engine.engine import Engine
from sampan.errors import Conflict, NotFound
from sampan.runtime.launcher.client import connect_shim
from sampan.runtime.launcher.exit_record import ExitRecord, write_exit_record
from sampan.spec import docker

HOST = Path(__file__).with_name("engine_host.py")


class Host:
    """A process with an engine in it, to be killed; told what to do by lines of JSON."""

    def __init__(self, box: Box) -> None:
        roots = box.settings.roots
        self.process = subprocess.Popen(
            [sys.executable, str(HOST), roots.data, roots.run, box.cgroup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.ask("ready") == "ready"

    def ask(self, verb: str, *args: object) -> object:
        self.tell(verb, *args)
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def tell(self, verb: str, *args: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, *args]).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def hosted(box: Box) -> Iterator[tuple[Box, Host]]:
    """A box whose engine lives in another process; `box.engine` is opened by the test after the kill."""
    box.engine.close()
    host = Host(box)
    try:
        yield box, host
    finally:
        if host.process.poll() is None:
            host.kill()
        try:
            box.engine.containers.list()
        except Exception:  # the test has not opened it again
            box.engine = Engine.open(box.settings)


def test_close_and_open_again(box: Box) -> None:
    running = box.start("sh", "-c", "while :; do echo tick; sleep 0.02; done", name="runs")
    ended = box.start("sh", "-c", "exit 3")
    box.wait(ended)
    created = box.create("true")
    pid = box.state(running).Pid
    box.reopen()
    assert box.state("runs").Pid == pid
    assert box.state("runs").Running
    assert box.state(ended).ExitCode == 3
    assert box.state(created).Status == "created"
    size = len(box.log_text(running))
    wait_until(lambda: len(box.log_text(running)) > size, "it goes on writing")
    assert box.exec(running, "echo", "hi").stdout == b"hi\n"
    with box.attach(running) as client:
        assert b"tick\n" in client.recv(100)
    box.engine.containers.stop(running, timeout_s=0)
    assert box.state(running).ExitCode == 137


def test_container_that_ends_while_nobody_looks(box: Box, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    container_id = box.start(
        "sh",
        "-c",
        f"until [ -e {gate} ]; do sleep 0.01; done; echo done; exit 4",
        host={"Binds": [f"{tmp_path}:{tmp_path}"]},
    )
    removed = box.start(
        "sh",
        "-c",
        f"until [ -e {gate} ]; do sleep 0.01; done",
        host={"Binds": [f"{tmp_path}:{tmp_path}"], "AutoRemove": True},
    )
    pids = [box.state(container_id).Pid, box.state(removed).Pid]
    box.engine.close()
    gate.touch()
    wait_until(lambda: not any(alive(pid) for pid in pids), "both have ended")
    box.engine = Engine.open(box.settings)
    wait_until(lambda: box.state(container_id).Status == "exited", "its end is known")
    assert box.state(container_id).ExitCode == 4
    assert box.log_text(container_id) == b"done\n"
    wait_until(lambda: not _exists(box, removed), "the AutoRemove container is gone")
    box.engine.containers.start(container_id)
    assert box.wait(container_id).status_code == 4


def _exists(box: Box, ref: str) -> bool:
    try:
        box.engine.containers.inspect(ref)
    except NotFound:
        return False
    return True


def test_paused_container_stays_paused(box: Box) -> None:
    container_id = box.start("sleep", "100")
    box.engine.containers.pause(container_id)
    box.reopen()
    assert box.state(container_id).Status == "paused"
    box.engine.containers.unpause(container_id)


def test_killed_while_containers_write(hosted: tuple[Box, Host]) -> None:
    box, host = hosted
    counter = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.001; done"
    ids = [str(host.ask("run", ["sh", "-c", counter])) for _ in range(4)]
    pids = [host.ask("pid", one) for one in ids]
    host.kill()
    box.engine = Engine.open(box.settings)
    assert [box.state(one).Pid for one in ids] == pids
    for one in ids:
        size = len(box.log(one))
        wait_until(lambda: len(box.log(one)) > size, "it goes on writing")  # noqa: B023 -- now
        box.engine.containers.stop(one, timeout_s=0)
        numbers = [int(entry.data) for entry in box.log(one)]
        assert numbers == list(range(1, len(numbers) + 1)), "a line is missing or doubled"
        assert box.state(one).ExitCode == 137


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.02 * step for step in range(1, 13)])
def test_killed_at_any_moment(hosted: tuple[Box, Host], after_s: float) -> None:
    """Kill the host in the midst of creates, starts and removes: the next engine has a consistent world."""
    box, host = hosted
    host.tell("churn")
    try:
        host.process.wait(after_s)
    except subprocess.TimeoutExpired:
        pass
    host.kill()
    box.engine = Engine.open(box.settings)
    assert box.engine.settle(30)
    for summary in box.engine.containers.list(all=True):
        state = box.state(summary.Id)
        assert state.Running == (state.Pid != 0)
        if state.Running:
            assert alive(state.Pid)
    box.remove_all()
    assert box.leftovers() == []


def test_shim_killed(box: Box) -> None:
    container_id = box.start("sleep", "1000")
    handle = connect_shim(f"{box.settings.roots.run}/containers/{container_id}")
    handle.close()
    pid = box.state(container_id).Pid
    os.kill(handle.shim_pid, signal.SIGKILL)
    assert box.wait(container_id).status_code == 137
    wait_until(lambda: not alive(pid), "init is gone")
    box.engine.containers.start(container_id)
    assert box.state(container_id).Running


def test_shim_killed_while_it_clears_away(box: Box) -> None:
    """It has written the exit record, and state, cgroup and run directory are still there."""
    container_id = box.start("sleep", "1000")
    run_dir = f"{box.settings.roots.run}/containers/{container_id}"
    handle = connect_shim(run_dir)
    handle.close()
    os.kill(handle.shim_pid, signal.SIGSTOP)
    os.kill(handle.pid, signal.SIGKILL)
    record = ExitRecord(
        id=container_id,
        code=0,
        signal=signal.SIGKILL,
        oom_killed=False,
        started_at=handle.started_at_ns,
        finished_at=time.time_ns(),
    )
    write_exit_record(run_dir, record)
    os.kill(handle.shim_pid, signal.SIGKILL)
    box.wait(container_id)
    wait_until(lambda: not os.path.exists(run_dir), "the run directory is gone")
    box.engine.containers.start(container_id)
    assert box.state(container_id).Running


def test_shim_killed_while_it_starts(box: Box) -> None:
    """What the runtime had made by then is in nobody's way."""
    container_id = box.start("sleep", "1000")
    run_dir = f"{box.settings.roots.run}/containers/{container_id}"
    state = Path(run_dir, "state.json").read_bytes()
    box.engine.containers.kill(container_id, "KILL")
    box.wait(container_id)
    wait_until(lambda: not os.path.exists(run_dir), "the run directory is gone")
    os.mkdir(run_dir)
    Path(run_dir, "state.json").write_bytes(state)
    box.engine.containers.start(container_id)
    assert box.state(container_id).Running


def test_shim_and_host_killed(hosted: tuple[Box, Host]) -> None:
    box, host = hosted
    container_id = str(host.ask("run", ["sleep", "1000"]))
    pid = int(str(host.ask("pid", container_id)))
    run_dir = f"{box.settings.roots.run}/containers/{container_id}"
    handle = connect_shim(run_dir)
    handle.close()
    host.kill()
    os.kill(handle.shim_pid, signal.SIGKILL)
    wait_until(lambda: not alive(handle.shim_pid), "the shim is gone")
    box.engine = Engine.open(box.settings)
    state = box.state(container_id)
    assert (state.Status, state.ExitCode) == ("exited", 137)
    assert not alive(pid)


def test_reboot(box: Box) -> None:
    """The run root is on a tmpfs: after a reboot it is empty, and what ran has ended with 255."""
    container_id = box.start("sleep", "1000")
    box.engine.containers.kill(container_id)
    box.engine.settle(30)
    box.engine.close()
    _say_it_runs(box, container_id)
    box.engine = Engine.open(box.settings)
    state = box.state(container_id)
    assert (state.Status, state.ExitCode) == ("exited", 255)


def _say_it_runs(box: Box, container_id: str) -> None:
    from sampan.store.store import Store

    with Store(box.settings.roots.data) as store:
        state = b'{"status":"running","pid":4000000,"start_ticks":1}'
        store.db.execute("UPDATE containers SET state = ? WHERE id = ?", (state, container_id))


def test_launcher_killed(box: Box) -> None:
    first = box.start("sleep", "1000")
    os.kill(box.engine._core.launchers.pid, signal.SIGKILL)
    second = box.start("sleep", "1000")
    assert box.state(first).Running
    assert box.state(second).Running


def test_leftovers_are_swept(box: Box) -> None:
    roots = box.settings.roots
    stranger = "a" * 64
    box.engine.close()
    for folder in (f"{roots.run}/containers/{stranger}", f"{roots.data}/containers/{stranger}/upper"):
        os.makedirs(folder)
    box.engine = Engine.open(box.settings)
    assert box.leftovers() == []


def test_broken_record_is_set_aside(box: Box) -> None:
    from sampan.store.store import Store

    container_id = box.create("true", name="broken")
    other = box.create("true", name="whole")
    box.engine.close()
    with Store(box.settings.roots.data) as store:
        (good,) = store.db.query("SELECT request FROM containers WHERE id = ?", (container_id,))[0]
        store.db.execute("UPDATE containers SET request = ? WHERE id = ?", (b"{", container_id))
    box.engine = Engine.open(box.settings)
    assert [summary.Id for summary in box.engine.containers.list(all=True)] == [other]
    assert os.path.isdir(f"{box.settings.roots.data}/containers/{container_id}")
    with pytest.raises(Conflict, match='"/broken" is already in use'):
        box.create("true", name="broken")
    box.engine.close()
    with Store(box.settings.roots.data) as store:
        store.db.execute("UPDATE containers SET request = ? WHERE id = ?", (good, container_id))
    box.engine = Engine.open(box.settings)
    assert _exists(box, "broken")


def test_events_survive(box: Box) -> None:
    container_id = box.start("true", name="told")
    box.wait(container_id)
    box.engine.containers.remove("told")
    box.reopen()
    seen: list[docker.Event] = []
    box.engine.events.subscribe(seen.append, since_ns=0, filters={"container": ["told"]}).cancel()
    assert [event.Action for event in seen] == ["create", "start", "die", "destroy"]


def test_launcher_is_replaced_before_it_is_missed(box: Box) -> None:
    first = box.engine._core.launchers.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: box.engine._core.launchers.pid != first, "another launcher")
    second = box.engine._core.launchers.pid
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: box.engine._core.launchers.pid not in (first, second), "and another")
    assert box.run("echo", "hi").stdout == b"hi\n"


def test_end_that_was_read_but_not_saved(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """sampand dies between hearing of an end and writing it down: the exit record tells the next one."""
    container_id = box.start("sh", "-c", "sleep 0.1; exit 3")

    def fail(_record: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(box.engine._core.journal, "save_state", fail)
        assert box.wait(container_id).status_code == 3
        assert box.state(container_id).Status == "exited"
    box.reopen()
    assert (box.state(container_id).Status, box.state(container_id).ExitCode) == ("exited", 3)


def test_rehearsal_leaves_nothing(box: Box) -> None:
    """The launcher rehearses with a true container; its cgroup and its state are gone when it is done."""
    box.run("true")
    box.remove_all()
    assert box.leftovers() == []
    rehearsal = Path(box.settings.roots.run) / f"rehearsal/{os.getpid()}"
    assert os.listdir(rehearsal / "state") == []
    assert not [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(rehearsal) in line
    ]
