"""Project quotas on a small ext4 of our own; the development kernel lacks them, Debian's has them (tools/v2)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.kernel.projectquota import set_project_quota

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system with project quotas."""
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(
        ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", str(image)], check=True
    )
    mounted = subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("the kernel has no ext4 project quotas (CONFIG_QFMT_V2), or no loop device")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_directory_holds_so_much_and_no_more(folder: Path) -> None:
    limited, free = folder / "limited", folder / "free"
    limited.mkdir()
    free.mkdir()
    set_project_quota(str(limited), 1 << 20)
    (limited / "below").mkdir()
    with pytest.raises(OSError) as refused, open(limited / "below/file", "wb", buffering=0) as file:
        for _ in range(64):
            file.write(b"x" * (64 << 10))
    assert refused.value.errno in (errno.EDQUOT, errno.ENOSPC)
    assert (limited / "below/file").stat().st_size <= 1 << 20
    (free / "file").write_bytes(b"x" * (2 << 20))


def test_a_file_system_without_them_says_so(tmp_path: Path) -> None:
    place = tmp_path / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        with pytest.raises(OSError) as refused:
            set_project_quota(str(place), 1 << 20)
        assert refused.value.errno in (errno.ESRCH, errno.ENOSYS, errno.ENOTTY, errno.ENOTSUP)
    finally:
        subprocess.run(["umount", str(place)], check=True)
