"""Containers of each storage driver, by the real docker CLI: alike in everything that a user sees."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for
from tests.system.test_storage_drivers import needs_fuse, servers

pytestmark = [needs_root, needs_busybox]
CHANGE = (
    "echo new > /etc/plain; rm /etc/group; mkdir -p /var/a/b; touch /var/a/b/c;"
    "rm -r /home; mkdir /home; touch /home/x"
)
SEEN = """\
A /home/x
A /var/a
A /var/a/b
A /var/a/b/c
C /etc
C /etc/plain
C /home
C /var
D /etc/group"""


@pytest.fixture(
    scope="module",
    params=["overlay2", pytest.param("fuse-overlayfs", marks=needs_fuse), "vfs"],
)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    daemon = Sampand(tmp_path_factory.mktemp(request.param))
    daemon.start(f"--storage-driver={request.param}")
    try:
        daemon.load_busybox()
        yield daemon
        daemon.remove_containers()
        assert servers(daemon.data) == []
    finally:
        daemon.close()


@pytest.fixture
def driver(box: Sampand) -> str:
    return str(box.call("GET", "/info")["Driver"])


def ok(box: Sampand, *arguments: str, stdin: bytes = b"") -> str:
    done = box.docker(*arguments, stdin=stdin)
    assert done.code == 0, done.err
    return done.text


def test_it_is_the_one_that_was_asked_for(box: Sampand, driver: str) -> None:
    assert box.folder.name.startswith(driver)
    box.docker("create", "--name=shown", "busybox")
    graph = box.call("GET", "/containers/shown/json")["GraphDriver"]
    assert graph["Name"] == driver
    assert bool(graph["Data"]) == (driver != "vfs")
    ok(box, "rm", "shown")


def test_what_a_container_changed_is_seen_alike(box: Sampand, tmp_path: Path) -> None:
    ok(box, "run", "--name=changed", "busybox", "sh", "-c", CHANGE)
    assert sorted(ok(box, "diff", "changed").splitlines()) == SEEN.splitlines()
    ok(box, "cp", "changed:/etc/plain", str(tmp_path / "plain"))
    assert (tmp_path / "plain").read_text() == "new\n"
    (tmp_path / "in").write_text("into it")
    ok(box, "cp", str(tmp_path / "in"), "changed:/root/in")
    image = ok(box, "commit", "changed", "made:1")
    look = "cat /etc/plain /root/in; ls /home /var/a/b; test -e /etc/group || echo gone"
    wanted = "new\ninto it/home:\nx\n\n/var/a/b:\nc\ngone"
    assert ok(box, "run", "--rm", image, "sh", "-c", look) == wanted
    flat = box.sampan("image", "flatten", "made:1", "made:flat")
    assert flat.code == 0, flat.err
    assert ok(box, "run", "--rm", "made:flat", "sh", "-c", look) == wanted
    sizes = ok(box, "ps", "-as", "--filter=name=changed", "--format={{.Size}}")
    assert sizes.startswith("11B (virtual "), sizes
    ok(box, "rm", "changed")


def test_a_running_container(box: Sampand) -> None:
    ok(box, "run", "-d", "--name=running", "busybox", "sh", "-c", "echo 1 > /file; sleep 1000")
    wait_for(lambda: box.docker("exec", "running", "cat", "/file").text == "1", "it has begun")
    ok(box, "exec", "running", "sh", "-c", "rm /etc/plain; echo 2 >> /file")
    assert {"A /file", "C /etc", "D /etc/plain"} <= set(ok(box, "diff", "running").splitlines())
    assert ok(box, "commit", "running", "made:2")
    assert (
        ok(box, "run", "--rm", "made:2", "sh", "-c", "cat /file; ls /etc")
        == "1\n2\ngroup\nhostname\nhosts\nmtab\npasswd\nresolv.conf"
    )
    box.kill()
    box.start()
    assert ok(box, "exec", "running", "cat", "/file") == "1\n2", "it outlives sampand, and keeps its driver"
    ok(box, "restart", "-t0", "running")
    wait_for(lambda: box.docker("exec", "running", "cat", "/file").text == "1", "it has begun again")
    pid = int(ok(box, "inspect", "--format={{.State.Pid}}", "running"))
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(shim, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the container ends with its shim")
    assert servers(box.data) == []
    ok(box, "rm", "-f", "running")


def test_a_build(box: Sampand, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY file /home/\nRUN rm -r /var && mkdir /var && touch /var/new && rm /etc/plain\n"
        "FROM scratch\nCOPY --from=0 / /\nWORKDIR /made\nRUN touch here\n"
    )
    (tmp_path / "file").write_text("of the context")
    done = box.sampan("build", "-q", "-t", "built:1", str(tmp_path))
    assert done.code == 0, done.err
    look = "pwd; ls . /var /home; test -e /etc/plain || echo gone"
    assert (
        ok(box, "run", "--rm", "built:1", "sh", "-c", look)
        == "/made\n.:\nhere\n\n/home:\nfile\n\n/var:\nnew\ngone"
    )
    layers = json.loads(ok(box, "image", "inspect", "built:1"))[0]["RootFS"]["Layers"]
    assert len(layers) == 3


def test_an_empty_volume_gets_what_the_image_has(box: Sampand) -> None:
    assert ok(box, "run", "--rm", "-v", "filled:/etc", "busybox", "cat", "/etc/plain") == "not executable"
    ok(box, "volume", "rm", "filled")


@pytest.mark.skipif(shutil.which("runc") is None, reason="no runc")
def test_another_runtime(box: Sampand) -> None:
    done = ok(box, "run", "--rm", "--runtime=runc", "busybox", "sh", "-c", "echo 1 > /f; cat /f /etc/plain")
    assert done == "1\nnot executable"


def test_the_content_is_one_archive(box: Sampand, tmp_path: Path) -> None:
    ok(box, "create", "--name=out", "busybox")
    ok(box, "export", "-o", str(tmp_path / "out.tar"), "out")
    assert os.path.getsize(tmp_path / "out.tar") > 100_000
    ok(box, "rm", "out")
