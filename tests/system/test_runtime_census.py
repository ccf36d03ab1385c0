"""Nothing is left behind: mounts, cgroups, processes, descriptors, files are the same before and after."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kernel.census import compare, take_census
from tests.system.bundles import Config, Runtime, needs_busybox, needs_root
from tests.system.sampand import wait_for

from sampan.errors import Conflict, SampanError
from sampan.kernel import process
from sampan.kernel.syscall import switched_off
from sampan.lean import replace
from sampan.runtime import create as creation
from sampan.runtime.lifecycle import (
    CreateRequest,
    ExecRequest,
    RootMount,
    create_container,
    delete_container,
    exec_process,
)
from sampan.runtime.requests import Plank
from sampan.spec.config import parse_process

pytestmark = [needs_root, needs_busybox]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(tmp_path / "own")
    (tmp_path / "own/state").mkdir()
    made.sh("true")  # the cgroup parent is made by the first container and stays
    yield made
    made.close()


@pytest.fixture
def counted(runtime: Runtime) -> Iterator[Runtime]:
    """The runtime, with everything counted around the test."""
    gc.collect()  # what earlier tests left in cycles must not go while we count
    before = (
        take_census(runtime.folder),
        runtime.container_cgroups(),
        sorted(os.listdir(runtime.folder / "state")),
    )
    umask = os.umask(0o77)
    os.umask(umask)
    yield runtime
    after = (
        take_census(runtime.folder),
        runtime.container_cgroups(),
        sorted(os.listdir(runtime.folder / "state")),
    )
    assert compare(before[0], after[0]) == []
    assert before[1:] == after[1:]
    assert os.umask(umask) == umask
    assert os.getcwd() != "(unreachable)"


def request(runtime: Runtime, bundle: Path, **more: object) -> CreateRequest:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    base = {"id": runtime.new_id(), "bundle": str(bundle), "state_root": str(runtime.folder / "state")}
    base["stdio"] = (null, null, null)  # type: ignore[assignment]
    return CreateRequest(**{**base, **more})  # type: ignore[arg-type]


def close_stdio(wanted: CreateRequest) -> None:
    os.close(wanted.stdio[0])


def test_a_whole_life_in_this_process(counted: Runtime) -> None:
    wanted = request(counted, counted.bundle(None, "sleep", "1000"))
    container = create_container(wanted)
    container.start()
    document = {"args": ["sh", "-c", "exit 3"], "cwd": "/", "env": ["PATH=/bin"]}
    running = exec_process(
        ExecRequest(
            id=wanted.id, state_root=wanted.state_root, process=parse_process(document), stdio=wanted.stdio
        )
    )
    assert process.wait_pidfd(running.pidfd).code == 3
    running.close()
    with pytest.raises(SampanError, match="executable file not found"):
        exec_process(
            ExecRequest(
                id=wanted.id,
                state_root=wanted.state_root,
                process=parse_process({**document, "args": ["nosuch"]}),
                stdio=wanted.stdio,
            )
        )
    process.pidfd_send_signal(container.pidfd, 9)
    assert process.wait_pidfd(container.pidfd).signal == 9
    container.close()
    close_stdio(wanted)
    delete_container(wanted.state_root, wanted.id)


def test_an_overlay_root_shows_nothing_on_the_host(counted: Runtime, tmp_path: Path) -> None:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    report: list[Plank] = []
    wanted = request(
        counted,
        counted.bundle(lambda config: config["root"].update(path="absent"), "touch", "/new"),
        root_mount=RootMount(
            lower=(str(counted.root),), upper=str(tmp_path / "upper"), work=str(tmp_path / "work")
        ),
        report=report,
    )
    container = create_container(wanted)
    mounts = Path("/proc/self/mountinfo").read_text()
    container.start()
    assert process.wait_pidfd(container.pidfd).code == 0
    container.close()
    close_stdio(wanted)
    delete_container(wanted.state_root, wanted.id)
    assert str(tmp_path) not in mounts
    assert (tmp_path / "upper/new").exists()
    assert not (counted.root / "new").exists()
    assert report


FAILURES: dict[str, Callable[[Config], object]] = {
    "program": lambda config: config["process"].update(args=["nosuch"]),
    "mount": lambda config: config["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "x"}),
    "mount option": lambda config: config["mounts"].append(
        {"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=x"]}
    ),
    "bind source": lambda config: config["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "/no/such", "options": ["bind"]}
    ),
    "limit": lambda config: config["linux"].update(resources={"cpu": {"cpus": "999"}}),
    "sysctl": lambda config: config["linux"].update(sysctl={"net.no.such": "1"}),
    "root": lambda config: config["root"].update(path="/no/such"),
    "namespace": lambda config: config["linux"]["namespaces"].append({"type": "time", "path": "/dev/null"}),
    "hook": lambda config: config.update(hooks={"createRuntime": [{"path": "/usr/bin/false"}]}),
    "hook inside": lambda config: config.update(hooks={"createContainer": [{"path": "/usr/bin/false"}]}),
    "hostname": lambda config: config.update(hostname="x" * 65),
    "cwd": lambda config: config["process"].update(cwd="/etc/passwd"),
    "capability": lambda config: config["process"]["capabilities"].update(bounding=["CAP_NOTHING"]),
    "terminal without devpts": lambda config: (
        config["process"].update(terminal=True),
        config["mounts"].pop(2),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_create(counted: Runtime, name: str) -> None:
    wanted = request(counted, counted.bundle(FAILURES[name]))
    with pytest.raises((SampanError, OSError)):
        create_container(wanted)
    close_stdio(wanted)


STEPS = ("_make_cgroup", "_clone", "_after_clone", "_converse", "_write_pid_file")


@pytest.mark.parametrize("step", STEPS)
def test_each_step_of_the_parent_fails_in_turn(
    counted: Runtime, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(creation._Creation, step)

    def fail(self: object, *arguments: object) -> None:
        result = real(self, *arguments)
        if step == "_clone":  # what it made is given over by its result only
            os.kill(result[0], 9)
            process.wait_pidfd(result[1])
            os.close(result[1])
        raise SampanError("made to fail")

    monkeypatch.setattr(creation._Creation, step, fail)
    wanted = request(counted, counted.bundle(None, "sleep", "1000"))
    with pytest.raises(SampanError, match="made to fail"):
        create_container(wanted)
    close_stdio(wanted)


def test_a_program_that_fails_at_execve(counted: Runtime) -> None:
    (counted.root / "script").write_text("#!/no/such/interpreter\n")
    (counted.root / "script").chmod(0o755)
    wanted = request(counted, counted.bundle(None, "/script"))
    container = create_container(wanted)
    with pytest.raises(SampanError, match="exec /script: no such file or directory"):
        container.start()
    assert process.wait_pidfd(container.pidfd).code == 1
    container.close()
    close_stdio(wanted)
    delete_container(wanted.state_root, wanted.id)


def test_forty_runs_leave_no_keyring_and_no_zombie(counted: Runtime) -> None:
    names = []
    for _ in range(40):
        names.append(f"_ses.{counted.new_id()}:")
        done = counted.call("run", "--bundle", str(counted.bundle(None, "true")), names[-1][5:-1])
        assert done.code == 0, done.err

    def left() -> int:
        return sum(line.split()[8] in names for line in Path("/proc/keys").read_text().splitlines())

    wait_for(lambda: left() <= 5, "the keyrings are gone, but for those that the kernel collects in a moment")
    shown = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in shown.splitlines() if line.startswith("Z") and str(counted.folder) in line]


def test_a_taken_id_and_what_killed_creators_left(counted: Runtime) -> None:
    wanted = request(counted, counted.bundle(None, "sleep", "1000"))
    state = counted.folder / "state"
    (state / wanted.id).mkdir()  # an empty folder of that name is no container
    left = state / f".creating-{2**22 + 1}.{wanted.id}"  # above any pid
    left.mkdir()
    (left / "state.json").write_text("{")
    container = create_container(wanted)
    with pytest.raises(Conflict, match="container with given ID already exists"):
        create_container(wanted)
    assert counted.call("list", "-q").lines == [wanted.id]
    delete_container(wanted.state_root, wanted.id, force=True)
    process.wait_pidfd(container.pidfd)
    container.close()
    close_stdio(wanted)
    delete_container(wanted.state_root, wanted.id, force=True)
    assert not left.exists()


@pytest.mark.parametrize(
    "calls", [("openat2",), ("close_range",), ("clone3",), ("openat2", "close_range", "clone3", "fchmodat2")]
)
def test_with_calls_switched_off(counted: Runtime, calls: tuple[str, ...]) -> None:
    """An older kernel, or a strict filter around us: everything is as with the calls."""
    out = os.memfd_create("out")
    script = "id -u; pwd; cat /proc/self/cgroup; ls /proc/self/fd; wc -c < /proc/keys"
    results = []
    for off in ((), calls):
        os.ftruncate(out, 0)
        os.lseek(out, 0, os.SEEK_SET)
        wanted = request(
            counted, counted.bundle(lambda config: config["process"].update(cwd="/made"), "sh", "-c", script)
        )
        wanted = replace(wanted, stdio=(wanted.stdio[0], out, out))
        with switched_off(*off):
            container = create_container(wanted)
            container.start()
            assert process.wait_pidfd(container.pidfd).code == 0
            container.close()
            delete_container(wanted.state_root, wanted.id)
        close_stdio(wanted)
        results.append(os.pread(out, 9999, 0).decode().replace(f"c{counted.count}", "cN"))
    os.close(out)
    assert results[0] == results[1]
    assert results[0].startswith("0\n/made\n")
