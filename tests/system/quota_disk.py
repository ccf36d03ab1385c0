"""A file system with project quotas. A kernel without CONFIG_QFMT_V2 has none; Debian's has them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def quota_disk(folder: Path) -> Iterator[Path]:
    """Give a directory on a small ext4 of our own; skips where there can be none."""
    image, place = folder / "image", folder / "mounted"
    place.mkdir()
    for module in ("loop", "quota_v2"):  # built in, or not there at all: then the mount fails
        if shutil.which("modprobe"):
            subprocess.run(["modprobe", "-q", module], check=False)
    with open(image, "wb") as file:
        file.truncate(64 << 20)
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
