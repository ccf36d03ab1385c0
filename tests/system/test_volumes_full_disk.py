"""A full disk while volumes are filled: a clear error, nothing torn, and removal still works."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root
from tests.system.small_disk import fill, small_disk

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    with small_disk(tmp_path_factory.mktemp("small")) as daemon:
        yield daemon


@pytest.fixture
def full(small: Sampand) -> Iterator[Path]:
    """Leave half a megabyte of the disk."""
    filler = fill(small, but=512 << 10)
    yield filler
    filler.unlink(missing_ok=True)


def names(daemon: Sampand) -> list[str]:
    return [volume["Name"] for volume in daemon.call("GET", "/volumes")["Volumes"]]


def create(daemon: Sampand, target: str, **host: object) -> tuple[int, str]:
    body = {
        "Image": "busybox",
        "HostConfig": {"NetworkMode": "none", "Binds": [f"filled:{target}"], **host},
    }
    status, _, answer = daemon.request("POST", "/containers/create", body)
    return status, str(json.loads(answer).get("message") or json.loads(answer).get("Id"))


def test_copy_up_that_does_not_fit(small: Sampand, full: Path) -> None:
    status, message = create(small, "/bin")
    assert status == 500
    assert "cannot copy the image's /bin to volume filled: No space left on device" in message
    assert names(small) == [], "made for this container only"
    assert os.listdir(small.data / "volumes") == []
    assert small.call("GET", "/containers/json?all=1") == []
    full.unlink()
    status, container = create(small, "/bin")
    assert status == 201
    filled = small.data / "volumes/filled/_data"
    assert (filled / "busybox").stat().st_size == os.stat("/bin/busybox").st_size
    small.call("DELETE", f"/containers/{container}")
    small.call("DELETE", "/volumes/filled")


def test_an_existing_volume_stays_empty(small: Sampand, full: Path) -> None:
    small.call("POST", "/volumes/create", {"Name": "filled"})
    status, _ = create(small, "/bin")
    assert status == 500
    assert os.listdir(small.data / "volumes/filled/_data") == []
    assert small.call("POST", "/v1.51/volumes/prune?filters=%7B%22all%22:%5B%22true%22%5D%7D") == {
        "VolumesDeleted": ["filled"],
        "SpaceReclaimed": 0,
    }


def test_a_volume_too_small_for_the_image(small: Sampand) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k"}
    small.call("POST", "/volumes/create", {"Name": "filled", "DriverOpts": options})
    status, message = create(small, "/bin")
    assert (status, "No space left on device" in message) == (500, True)
    assert len(small.mounts()) == 1, "only the disk itself"
    small.call("DELETE", "/volumes/filled")


def test_import_that_does_not_fit(small: Sampand, full: Path) -> None:
    import io
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo("large")
        entry.size = 1 << 20
        archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    status, _, answer = small.request("POST", "/sampan/v1/volumes/filled/import", raw=data.getvalue())
    assert (status, b"no space left on device" in answer) == (500, True)
    assert os.listdir(small.data / "volumes/filled/_data") == []
    small.call("DELETE", "/volumes/filled")
    assert names(small) == []
