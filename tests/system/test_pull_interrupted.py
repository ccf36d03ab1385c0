"""Pulls that are cut off: kill -9 of sampand, a client that goes, two at once."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.hostile_registry import Answerer, Hostile, serve_hostile
from tests.system.registry_kit import make_image
from tests.system.sampand import DOCKER, Sampand, needs_root, wait_for
from tests.system.store_kit import entry, tar

pytestmark = [needs_root, pytest.mark.peers]

HALF = 2 << 20
IMAGE = make_image([tar((entry("noise"), os.urandom(2 * HALF)))])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Sampand]:
    running = Sampand(tmp_path / "sampand")
    running.folder.mkdir()
    running.start()
    yield running
    running.close()


class Halting:
    """Sends half of each layer, and the rest when `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ranges: list[str] = []

    def __call__(self, request: Answerer) -> bool:
        if not request.is_layer:
            return False
        self.ranges.append(request.headers.get("Range", ""))
        if self.go.is_set():
            return False
        data = request.server.image.blobs[request.path.rpartition("/")[2]]
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[:HALF])
        while not self.go.wait(0.05):
            if request.server.ending.is_set():
                request.close_connection = True
                return True
        request.wfile.write(data[HALF:])
        return True


def begin_pull(daemon: Sampand, server: Hostile) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [DOCKER, "pull", f"{server.domain}/box:1"],
        env=daemon.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def partial(daemon: Sampand) -> int:
    return sum(path.stat().st_size for path in (daemon.data / "partial").iterdir())


def test_kill_9_and_go_on(daemon: Sampand) -> None:
    halting = Halting()
    with serve_hostile(IMAGE, halting) as server:
        client = begin_pull(daemon, server)
        wait_for(lambda: partial(daemon) == HALF, "half of the layer is there")
        daemon.kill()
        assert client.wait(20) != 0
        client.communicate()
        daemon.start()
        assert daemon.call("GET", "/images/json") == []
        assert os.listdir(daemon.data / "layers") == []
        halting.go.set()
        done = daemon.docker("pull", f"{server.domain}/box:1")
        assert done.code == 0, done.err
        assert halting.ranges == ["", f"bytes={HALF}-"]
        assert daemon.call("GET", f"/images/{server.domain}/box:1/json")["Id"] == IMAGE.config
        assert partial(daemon) == 0


def test_a_client_that_goes_ends_its_pull(daemon: Sampand) -> None:
    halting = Halting()
    with serve_hostile(IMAGE, halting) as server:
        client = begin_pull(daemon, server)
        wait_for(lambda: partial(daemon) == HALF, "half of the layer is there")
        client.kill()
        client.communicate()
        wait_for(lambda: os.listdir(daemon.data / "tmp") == [], "nothing is being made any more")
        assert daemon.call("GET", "/images/json") == []
        halting.go.set()
        assert daemon.docker("pull", f"{server.domain}/box:1").code == 0
        assert halting.ranges == ["", f"bytes={HALF}-"]


def test_two_at_once_download_once(daemon: Sampand) -> None:
    halting = Halting()
    with serve_hostile(IMAGE, halting) as server:
        clients = [begin_pull(daemon, server) for _ in range(4)]
        wait_for(lambda: partial(daemon) == HALF, "half of the layer is there")
        wait_for(lambda: sum(IMAGE.config in path for _, path, _ in server.seen) == 4, "all four have begun")
        first = clients.pop(0)
        first.kill()  # whoever began it may go
        first.communicate()
        halting.go.set()
        for client in clients:
            output, _ = client.communicate(timeout=30)
            assert client.returncode == 0, output
        assert halting.ranges == [""]
