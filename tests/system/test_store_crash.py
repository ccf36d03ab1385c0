"""kill -9 at any moment: the store opens clean and the same work succeeds again."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.system.store_kit import entry, image_archive, tar

from sampan.ids import new_container_id
from sampan.store.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FILES = 200  # in each layer

LOADER = """
import sys
sys.path[:0] = sys.argv[3:]
from sampan.store.store import Store
with Store(sys.argv[1]) as store:
    print("open", flush=True)
    with open(sys.argv[2], "rb") as archive:
        store.images.load(archive)
    print("loaded", flush=True)
    store.images.remove("app:1", users=lambda _id: [])
    print("removed", flush=True)
"""


def start(data: Path, archive: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", LOADER, str(data), str(archive), *sys.path], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    return child


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of three layers with some hundred files: loading takes long enough to be hit anywhere."""
    rng = random.Random(1)
    layers = [
        tar(*[(entry(f"l{layer}/d{number % 20}/f{number}"), rng.randbytes(3000)) for number in range(FILES)])
        for layer in range(3)
    ]
    path = tmp_path_factory.mktemp("crash") / "image.tar"
    path.write_bytes(image_archive(layers, tags=["app:1"]))
    return path


def run_time_s(data: Path, archive: Path) -> float:
    child = start(data, archive)
    begin = time.monotonic()
    assert child.wait() == 0
    assert child.stdout is not None
    child.stdout.close()
    return time.monotonic() - begin


def check_clean(data: Path, archive: Path) -> None:
    """The image is there as a whole or not at all; a load makes it whole; a removal leaves nothing."""
    with Store(str(data)) as store:
        store.wait_until_swept()
        assert os.listdir(data / "tmp") == []
        recorded = {digest for digest in os.listdir(data / "layers")}
        images = store.images.list()
        assert len(recorded) == 3 * len(images), "layers without an image were swept"
        with archive.open("rb") as file:
            (loaded,) = store.images.load(file)
        snapshot = store.snapshots.prepare(new_container_id(), store.images.get(loaded.image_id))
        assert all(sum(len(files) for _, _, files in os.walk(path)) == FILES for path in snapshot.lower[:3])
        store.snapshots.sweep([])
        store.images.remove("app:1", users=lambda _id: [])
    left = [str(path.relative_to(data)) for path in data.rglob("*") if path.is_file() or path.is_symlink()]
    assert sorted(left) == ["images/index.json", "images/oci-layout", "lock", "state.db"]


@pytest.mark.slow
def test_killed_anywhere_in_load_and_remove(tmp_path: Path, archive: Path) -> None:
    data = tmp_path / "data"
    whole_s = run_time_s(data, archive)
    rng = random.Random(2)
    for _ in range(10):
        child = start(data, archive)
        try:
            child.wait(timeout=rng.uniform(0, whole_s))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
        check_clean(data, archive)


def test_killed_while_the_index_is_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    Store(str(data)).close()
    for name in ("index.json", "oci-layout"):
        (data / f"images/.{name}.0123456789ab.new").write_bytes(b"{")
    Store(str(data)).close()
    assert sorted(os.listdir(data / "images")) == ["blobs", "index.json", "oci-layout"]


def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionResetError("the client went away")

    with Store(str(tmp_path / "data")) as store:
        with pytest.raises(ConnectionResetError):
            store.images.load(Broken())
        assert os.listdir(tmp_path / "data" / "tmp") == []
