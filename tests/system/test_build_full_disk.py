"""A disk that fills in the middle of a build: the error says so, and nothing half made stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root, wait_for
from tests.system.small_disk import fill, small_disk

pytestmark = [needs_root, needs_busybox]
MIB = 1 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    with small_disk(tmp_path_factory.mktemp("small")) as daemon:
        yield daemon


def build(small: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(f"FROM busybox\n{text}\n")
    return small.sampan("build", *options, str(folder))


def rests(small: Sampand) -> list[str]:
    """Names of what a build that failed must not leave."""
    return [
        f"{folder}/{name}"
        for folder in ("tmp", "containers", "build-contexts")
        if (small.data / folder).is_dir()
        for name in os.listdir(small.data / folder)
    ]


def used(small: Sampand) -> int:
    room = os.statvfs(small.data)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def check_clean(small: Sampand) -> None:
    wait_for(lambda: not [one for one in rests(small) if not one.startswith("build-contexts")], "all is gone")


def works(small: Sampand, folder: Path) -> None:
    assert build(small, folder, "RUN echo works > /f", "-t", "works").code == 0
    assert small.docker("rmi", "works").code == 0
    assert small.docker("builder", "prune", "-af").code == 0


def test_run(small: Sampand, tmp_path: Path) -> None:
    """The command meets it; what it left is kept to be looked at, and `builder prune` frees it."""
    done = build(small, tmp_path, "RUN dd if=/dev/zero of=/big bs=1M")
    assert done.code == 1, done.err
    assert "No space left on device" in done.text + done.err
    check_clean(small)
    assert small.docker("builder", "prune", "-af").code == 0
    works(small, tmp_path)


@pytest.mark.parametrize(
    "line",
    ["COPY big /big", "COPY --link big /big", "RUN --mount=type=bind,source=big,target=/b true"],
)
def test_copy(small: Sampand, tmp_path: Path, line: str) -> None:
    (tmp_path / "big").write_bytes(os.urandom(4 * MIB))
    filler = fill(small, but=MIB)
    done = build(small, tmp_path, line)
    filler.unlink()
    assert done.code == 1
    assert "no space left on device" in (done.text + done.err).lower()
    check_clean(small)
    works(small, tmp_path)


def test_sent(small: Sampand, tmp_path: Path) -> None:
    """A context that is sent is spooled on that disk."""
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY big /\n")
    (tmp_path / "big").write_bytes(os.urandom(4 * MIB))
    filler = fill(small, but=MIB)
    done = small.docker("build", str(tmp_path))
    filler.unlink()
    assert done.code == 1
    assert "no space left on device" in (done.text + done.err).lower()
    check_clean(small)
    works(small, tmp_path)


def test_cache_export_and_import(small: Sampand, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(4 * MIB))
    cache = tmp_path / "cache"
    before = used(small)
    filler = fill(small, but=10 * MIB)
    done = build(small, tmp_path, "COPY big /", f"--cache-to=type=local,dest={cache}")
    assert done.code == 1, done.text
    assert "no space left on device" in (done.text + done.err).lower()
    check_clean(small)
    filler.unlink()
    assert build(small, tmp_path, "COPY big /", f"--cache-to=type=local,dest={cache}").code == 0
    assert small.docker("image", "prune", "-f").code == 0
    assert small.docker("builder", "prune", "-af").code == 0
    wait_for(lambda: used(small) < before + MIB, "what was pruned is off the disk")
    filler = fill(small, but=2 * MIB)
    done = build(small, tmp_path, "COPY big /", f"--cache-from=type=local,src={cache}")
    filler.unlink()
    assert done.code == 1
    assert "no space left on device" in (done.text + done.err).lower()
    check_clean(small)
    works(small, tmp_path)
    assert "Using cache" in build(small, tmp_path, "COPY big /", f"--cache-from=type=local,src={cache}").text


def test_nothing_left_at_all(small: Sampand, tmp_path: Path) -> None:
    """Even a failed step that can be kept nowhere ends with its own code."""
    filler = fill(small, but=0)
    done = build(small, tmp_path, "RUN exit 7")
    filler.unlink()
    assert done.code in (1, 7)
    check_clean(small)
    works(small, tmp_path)
