"""Base images without a registry: what they hold, and that they run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import InvalidArgument, Unavailable
from sampan.ids import new_container_id
from sampan.store import bootstrap
from sampan.store.bootstrap import programs
from sampan.store.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "data")) as opened:
        yield opened


def run(root: str, *command: str) -> str:
    return subprocess.run(["chroot", root, *command], check=True, capture_output=True, text=True).stdout


def test_busybox(store: Store) -> None:
    lines: list[str] = []
    with bootstrap.busybox(say=lines.append) as archive:
        (loaded,) = store.images.load(archive)
    assert loaded.reference is not None
    assert loaded.reference.familiar == "busybox:latest"
    image = store.images.get(loaded.image_id)
    assert image.config.config.Cmd == ["sh"]
    root = store.snapshots.prepare(new_container_id(), image).lower[0]
    assert run(root, "/bin/sh", "-c", "echo hi | /bin/cat") == "hi\n"
    assert run(root, "/bin/id", "-u", "nobody") == "65534\n"
    assert stat.S_IMODE(os.stat(f"{root}/tmp").st_mode) == 0o1777
    assert os.stat(f"{root}/bin/ls").st_ino == os.stat(f"{root}/bin/sh").st_ino
    assert image.size_bytes < 4 << 20
    assert lines


def test_the_same_package_gives_the_same_image(store: Store) -> None:
    ids = set()
    for _ in range(2):
        with bootstrap.busybox() as archive:
            ids.add(store.images.load(archive)[0].image_id)
    assert len(ids) == 1


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_FOLDERS", ())
    with pytest.raises(Unavailable, match="mmdebstrap is not installed") as caught:
        bootstrap.debian()
    assert "apt-get install mmdebstrap" in caught.value.hint
    with pytest.raises(Unavailable, match="is not installed"):
        bootstrap.busybox()


def test_a_suite_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="is no Debian suite"):
        bootstrap.debian("--hook=rm")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_debian(store: Store) -> None:
    with bootstrap.debian() as archive:
        loaded = store.images.load(archive)
    names = {one.reference.familiar for one in loaded if one.reference}
    assert names == {"debian:bookworm-slim", "debian:latest", "debian:stable-slim", "debian:bookworm"}
    image = store.images.resolve("debian")
    root = store.snapshots.prepare(new_container_id(), image).lower[0]
    assert run(root, "/bin/bash", "-c", "echo $BASH_VERSION").startswith("5.")
    assert run(root, "/usr/bin/dpkg", "--audit") == ""
    assert not os.path.exists(f"{root}/usr/share/man/man1/ls.1.gz")
    assert not [name for name in os.listdir(f"{root}/var/lib/apt/lists") if name.endswith("_Packages")]
    assert image.size_bytes < 120 << 20
