"""kill -9 of sampand in the middle of a commit and of a copy: nothing is left, and everything works again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import DOCKER, Sampand, needs_busybox, needs_root, serve, wait_for

pytestmark = [needs_root, needs_busybox]

_BIG = "dd if=/dev/urandom of=/big bs=1M count=40"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Sampand]:
    daemon = serve(tmp_path)
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def box(daemon: Sampand) -> str:
    """A running container with 40 MiB of its own."""
    done = daemon.docker("run", "-d", "--network", "none", "--name", "box", "busybox", "sleep", "1000")
    assert done.code == 0, done.err
    assert daemon.docker("exec", "box", "sh", "-c", _BIG).code == 0
    return done.text


def begin(daemon: Sampand, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [DOCKER, *arguments], env=daemon.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def kill_and_return(daemon: Sampand, command: subprocess.Popen[bytes]) -> None:
    daemon.kill()
    command.communicate(timeout=30)
    daemon.start()


def staged(daemon: Sampand) -> list[Path]:
    return list((daemon.data / "tmp").glob("staging-*/*.tar"))


@pytest.mark.parametrize("moment", ["frozen", "packing", "recording"])
def test_a_commit(daemon: Sampand, box: str, moment: str) -> None:
    mark = daemon.data / "containers" / box / "frozen-by-commit"
    conditions = {
        "frozen": mark.exists,
        "packing": lambda: any(path.stat().st_size > 4 << 20 for path in staged(daemon)),
        "recording": lambda: staged(daemon) and not mark.exists(),
    }
    command = begin(daemon, "commit", "box", "made:1")
    wait_for(lambda: conditions[moment]() or command.poll() is not None, f"the commit is {moment}")
    kill_and_return(daemon, command)
    assert daemon.docker("exec", "box", "echo", "alive").text == "alive"  # not frozen
    assert not mark.exists()
    assert daemon.docker("inspect", "-f", "{{.State.Status}}", "box").text == "running"
    wait_for(lambda: not list((daemon.data / "tmp").iterdir()), "the store's tmp is swept")
    listed = daemon.docker("images", "-q").text.split()
    layers = {path.name for path in (daemon.data / "layers").iterdir()} - {"scratch"}
    assert len(layers) <= len(listed)  # a layer that was unpacked for nothing is gone
    assert daemon.docker("commit", "box", "made:2").code == 0
    size = daemon.docker("run", "--rm", "--network", "none", "made:2", "stat", "-c", "%s", "/big")
    assert size.text == str(40 << 20)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_copy_into_a_container(daemon: Sampand, box: str, state: str, tmp_path: Path) -> None:
    if state == "stopped":
        daemon.docker("stop", "-t", "0", "box")
    big = tmp_path / "big"
    big.write_bytes(bytes(100 << 20))
    target = daemon.data / "containers" / box / "upper" / "copied"
    command = begin(daemon, "cp", str(big), "box:/copied")
    wait_for(lambda: target.exists() or command.poll() is not None, "the copy has begun")
    kill_and_return(daemon, command)
    assert daemon.mounts() == []
    assert daemon.docker("cp", str(big), "box:/copied").code == 0
    assert target.stat().st_size == 100 << 20
    if state == "stopped":
        assert daemon.docker("start", "box").code == 0
    assert daemon.docker("exec", "box", "stat", "-c", "%s", "/copied").text == str(100 << 20)


def test_a_copy_out_of_a_container(daemon: Sampand, box: str, tmp_path: Path) -> None:
    """The client is told that its archive broke off, and does not take half of it for the whole."""
    command = subprocess.Popen(
        [DOCKER, "cp", "box:/big", "-"],
        env=daemon.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None
    assert command.stdout.read(100_000)
    daemon.kill()
    command.communicate(timeout=30)
    assert command.returncode != 0
    daemon.start()
    out = tmp_path / "out"
    assert daemon.docker("cp", "box:/big", str(out)).code == 0
    assert out.stat().st_size == 40 << 20


def test_a_client_that_goes_away_keeps_no_container(daemon: Sampand, box: str) -> None:
    daemon.docker("stop", "-t", "0", "box")
    command = subprocess.Popen(
        [DOCKER, "cp", "box:/big", "-"],
        env=daemon.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert command.stdout is not None
    assert command.stdout.read(1000)
    command.kill()
    command.communicate()
    assert daemon.docker("start", "box").code == 0
    assert daemon.docker("rm", "-f", "box").code == 0
