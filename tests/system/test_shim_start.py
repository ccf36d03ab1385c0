"""What a started container gets and does not get, and how launcher and shim present themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.shim_kit import Box, Client, open_box

from sampan.errors import Conflict, InvalidArgument
from sampan.runtime.launcher.client import Launcher
from sampan.runtime.launcher.messages import pack


@pytest.fixture(scope="module")
def module_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with open_box(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture
def box(module_box: Box) -> Iterator[Box]:
    yield module_box
    module_box.tidy()


def test_interpreter_is_on_a_read_only_mount(box: Box) -> None:
    """CVE-2019-5736: whoever reaches a process's exe cannot open that file for writing, now or later."""
    container = box.start(["sleep", "1000"])
    for pid in (box.launcher.pid, container.handle.shim_pid):
        assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY
        with pytest.raises(OSError, match=r"busy|Read-only"):
            os.open(f"/proc/{pid}/exe", os.O_WRONLY)


def test_not_open_to_others(box: Box) -> None:
    """A process that is not dumpable has /proc files of root's, and is not traced without that capability."""
    container = box.start(["sleep", "1000"])
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            os.readlink(f"/proc/{container.handle.shim_pid}/exe")
        except PermissionError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    run_dir = container.request.run_dir
    assert os.stat(run_dir).st_mode & 0o777 == 0o700
    assert os.stat(f"{run_dir}/shim.sock").st_mode & 0o777 == 0o600


def test_names_in_ps(box: Box) -> None:
    container = box.start(["sleep", "1000"])
    shim = Path(f"/proc/{container.handle.shim_pid}")
    assert (shim / "comm").read_text() == "sampan-shim\n"
    assert (shim / "cmdline").read_bytes().rstrip(
        b"\0"
    ) == f"sampan-shim {container.request.id[:12]}".encode()
    assert Path(f"/proc/{box.launcher.pid}/cmdline").read_bytes().rstrip(b"\0") == b"sampan-launcher"
    pid, ticks = Path(f"{container.request.run_dir}/shim.pid").read_text().split()
    assert int(pid) == container.handle.shim_pid
    assert int(ticks) > 0


def test_program_gets_three_descriptors(box: Box) -> None:
    client = Client(framed=True)
    container = box.start(["ls", "-l", "/proc/self/fd"], client)
    lines = client.outputs()[0].decode().splitlines()
    container.wait()
    targets = [line.partition(" -> ")[2] for line in lines if " -> " in line]
    assert targets[0] == "/dev/null"
    assert [target.partition(":")[0] for target in targets[1:3]] == ["pipe", "pipe"]
    assert {*targets[3:]} <= {"/proc/1/fd"}  # the folder that ls itself reads, unless closed by then


def test_program_gets_default_signals(box: Box) -> None:
    client = Client(framed=True)
    container = box.start(["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"], client)
    out = client.outputs()[0]
    container.wait()
    assert out == b"".join(b"Sig%s:\t0000000000000000\n" % name for name in (b"Blk", b"Ign", b"Cgt"))


def test_report(box: Box) -> None:
    container = box.start(["sleep", "1000"], report=True)
    planks = container.handle.report()
    assert {plank["plank"] for plank in planks} >= {"sees", "may", "process"}
    assert box.start(["sleep", "1000"]).handle.report() == []


def test_same_id_twice(box: Box) -> None:
    container = box.start(["sleep", "1000"])
    with pytest.raises(Conflict):
        box.launcher.start(container.request)
    container.handle.signal(0)
    assert Path(container.request.run_dir, "shim.sock").exists()


def test_same_id_again_after_release(box: Box) -> None:
    container = box.shell("exit 3")
    assert container.wait().code == 3
    handle = box.launcher.start(container.request)
    container.handle.close()
    container.handle = handle
    assert container.wait().code == 3


def test_signal_that_does_not_exist(box: Box) -> None:
    container = box.start(["sleep", "1000"])
    with pytest.raises(InvalidArgument, match="signal 99"):
        container.handle.signal(99)


def test_kill_all_in_a_shared_pid_namespace(box: Box) -> None:
    """Init's end does not end its children there: the shim kills what is left in the cgroup."""

    def share(config: dict) -> None:  # type: ignore[type-arg]
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [space for space in spaces if space["type"] != "pid"]
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "proc"]

    client = Client(framed=True)
    container = box.shell("sleep 1000 & echo $!; exit 6", client, config=share)
    left_behind = int(client.outputs()[0])
    assert container.wait().code == 6
    assert not Path(f"/proc/{left_behind}").exists()


def test_a_rehearsal_that_fails_costs_time_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No bundle, and one that cannot be run here: the launcher says so and serves all the same."""
    with open_box(tmp_path) as box:
        box.launcher.close()
        request = tmp_path / "request.json"
        request.write_text(json.dumps(pack(box.request(["no-such-program"]))))
        for rehearsal in (str(tmp_path / "nothing"), str(request)):
            box.launcher = Launcher.spawn(run_root=str(box.run_root), rehearsal=rehearsal)
            assert box.start(["true"]).wait().code == 0
            box.launcher.close()
        box.launcher = Launcher.spawn(run_root=str(box.run_root))
    assert capfd.readouterr().err.count("launcher") >= 2
