"""Containers of another OCI runtime, looked after by our shim as our own are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.shim_kit import CGROUPS, Box, Client, exec_process, open_box

from sampan.errors import CommandNotFound
from sampan.runtime.launcher.client import ExecStart

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def module_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if runc is None:
        pytest.skip("needs runc")
    with open_box(tmp_path_factory.mktemp("box"), (runc,)) as made:
        yield made


@pytest.fixture
def box(module_box: Box) -> Iterator[Box]:
    yield module_box
    module_box.tidy()


def test_streams_log_and_code(box: Box) -> None:
    client = Client(framed=True)
    container = box.shell("echo out; echo err >&2; exit 7", client)
    assert client.outputs() == (b"out\n", b"err\n")
    assert container.wait().code == 7
    assert container.log_text() == "out\nerr\n"
    assert not Path(container.request.run_dir).exists()
    assert not list(CGROUPS.glob(f"*{box.cgroup}/{container.request.id}"))


def test_root_file_system_shows_nowhere_else(box: Box) -> None:
    container = box.start(["sleep", "1000"])
    assert str(box.folder) not in Path("/proc/self/mountinfo").read_text()
    container.handle.signal(9)
    assert container.wait().code == 137


def test_terminal(box: Box) -> None:
    client = Client(framed=False, stdin=True)
    container = box.shell("read x; stty size; exit 3", client, terminal=True, open_stdin=True)
    container.handle.resize(40, 100)
    client.send(b"\n")
    assert b"40 100\r\n" in client.read_all()
    assert container.wait().code == 3


@pytest.mark.parametrize("terminal", [False, True])
def test_exec(box: Box, *, terminal: bool) -> None:
    container = box.start(["sleep", "1000"])
    client = Client(framed=not terminal)
    request = ExecStart(
        exec_id="one",
        process=exec_process(["/bin/sh", "-c", "echo inside; exit 5"]),
        terminal=terminal,
        attach=client.request,
    )
    container.handle.exec(request)
    client.handed_over()
    assert container.finish_exec().code == 5
    assert b"inside" in client.read_all()


def test_program_that_is_not_there(box: Box) -> None:
    with pytest.raises(CommandNotFound, match="executable file not found"):
        box.start(["no-such-program"])
    assert not list((box.run_root / "containers").iterdir())
