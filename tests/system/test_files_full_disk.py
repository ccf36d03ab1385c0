"""A full disk while files are copied into a container: a clear error, nothing torn, removal still works."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for
from tests.system.small_disk import fill, small_disk

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    with small_disk(tmp_path_factory.mktemp("small")) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def room(small: Sampand) -> Iterator[None]:
    yield
    (small.data / "filler").unlink(missing_ok=True)
    small.remove_containers()


def archive(**files: int) -> bytes:
    """Return a tar archive of files of these sizes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, size in files.items():
            info = tarfile.TarInfo(name)
            info.size = size
            out.addfile(info, io.BytesIO(b"n" * size))
    return buffer.getvalue()


def start(small: Sampand, *, running: bool) -> str:
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    container: str = small.call("POST", "/containers/create", body)["Id"]
    if running:
        small.call("POST", f"/containers/{container}/start")
    return container


def names_in(small: Sampand, container: str, path: str) -> list[str]:
    status, _, data = small.request("GET", f"/containers/{container}/archive?path={path}")
    assert status == 200
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        return sorted(found.getnames())


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_copy_that_does_not_fit(small: Sampand, running: bool) -> None:
    container = start(small, running=running)
    path = f"/containers/{container}/archive?path=/home"
    small.request("PUT", path, raw=archive(kept=1000))
    fill(small, but=256 << 10)
    status, _, answer = small.request("PUT", path, raw=archive(fits=4096, large=2 << 20))
    assert status == 500
    assert "no space left on device" in json.loads(answer)["message"].lower()
    assert set(names_in(small, container, "/home")) - {"home/fits"} == {"home", "home/kept"}, (
        "no part of a file"
    )
    assert small.request("DELETE", f"/containers/{container}?force=1")[0] == 204
    wait_for(lambda: not (small.data / "containers" / container).exists(), "its files are removed")


def test_no_byte_is_left(small: Sampand) -> None:
    """Containers end, are listed, removed and pruned on a disk that takes nothing at all."""
    removed, pruned = start(small, running=True), start(small, running=True)
    fill(small, but=0)
    assert (
        small.request("PUT", f"/containers/{removed}/archive?path=/home", raw=archive(large=1 << 20))[0]
        == 500
    )
    small.call("POST", f"/containers/{pruned}/kill")
    wait_for(lambda: not small.call("GET", f"/containers/{pruned}/json")["State"]["Running"], "it ends")
    assert len(small.call("GET", "/containers/json?all=1")) == 2
    assert small.request("DELETE", f"/containers/{removed}?force=1")[0] == 204
    assert small.call("POST", "/containers/prune")["ContainersDeleted"] == [pruned]
    assert small.call("GET", "/containers/json?all=1") == []
    wait_for(lambda: os.listdir(small.data / "containers") == [], "their files are removed")
