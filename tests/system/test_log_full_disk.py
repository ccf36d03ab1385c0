"""A full disk: the container goes on, nothing in its log is torn, it logs again once there is room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.engine_kit import Box, wait_until

from sampan.runtime.launcher import local_format
from sampan.spec import docker

ROOM = 24 << 20


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An engine whose data root is a small tmpfs."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], check=True)
    try:
        box = Box(folder).load_busybox()
        try:
            yield box
        finally:
            box.close()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


@pytest.mark.parametrize("driver", ["json-file", "local"])
@pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
def test_full_disk(box: Box, driver: str, mode: str) -> None:
    config = docker.LogConfig(Type=driver, Config={"mode": mode, "max-size": "-1"})
    container = box.start("cat", OpenStdin=True, host={"LogConfig": config})
    with box.attach(container, stdin=True) as client:
        said = b""

        def say(text: bytes) -> None:
            nonlocal said
            client.sendall(text)
            while not said.endswith(text):
                said += client.recv(1 << 16)[8:] if len(text) < 8000 else client.recv(1 << 16)

        say(b"before\n")
        wait_until(lambda: box.log_text(container) == b"before\n", "it is logged")
        ballast = fill(box.folder)
        for number in range(300):
            say(b"no room for line %d, which is long enough to need a page soon\n" % number * 60)
        assert box.engine.containers.inspect(container).State.Running
        check_whole(box, container, driver)
        ballast.unlink()
        say(b"after\n")
        wait_until(lambda: box.log_text(container).endswith(b"after\n"), "it is logged again")
        box.engine.containers.kill(container)
    check_whole(box, container, driver)
    lines = box.log_text(container).splitlines()
    assert lines[0] == b"before"
    assert all(line.startswith((b"before", b"no room for line", b"after")) for line in lines)
    assert 2 <= len(lines) < 18_002
    fill(box.folder)
    box.engine.containers.remove(container)
    assert box.engine.settle(10)
    assert not (box.folder / "data" / "containers" / container).exists()
    (box.folder / "ballast").unlink()


def check_whole(box: Box, container: str, driver: str) -> None:
    """Every byte in the file belongs to a whole record."""
    folder = box.folder / "data" / "containers" / container
    if driver == "json-file":
        for line in (folder / f"{container}-json.log").read_bytes().splitlines(keepends=True):
            assert line.endswith(b"\n")
            json.loads(line)
        return
    data = (folder / "local-logs" / "container.log.live").read_bytes()
    fd = os.open(folder / "local-logs" / "container.log.live", os.O_RDONLY)
    head = local_format.read_head(fd).length
    os.close(fd)
    assert local_format.whole_frames(data[head:]) == len(data) - head


def test_many_bytes_on_a_full_disk_do_not_stop_the_container(box: Box) -> None:
    ballast = fill(box.folder)
    for driver in ("json-file", "local"):
        config = docker.LogConfig(Type=driver)
        ballast.unlink()
        container = box.create("sh", "-c", "seq 1 200000; echo end >&2; exit 5", host={"LogConfig": config})
        ballast = fill(box.folder)
        waited = []
        box.engine.containers.on_exit(container, "next-exit", waited.append)
        with ballast.open("r+b") as file:
            file.truncate(ballast.stat().st_size - (1 << 20))  # room for the start itself
        box.engine.containers.start(container)
        wait_until(lambda w=waited: w, "it ends")
        assert waited[0].status_code == 5
