"""Project quotas on a small ext4 of our own. A kernel without CONFIG_QFMT_V2 has none; Debian's has them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.quota_disk import quota_disk

from sampan.kernel.projectquota import set_project_quota

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system with project quotas."""
    for parent in tmp_path.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)  # another user has to come by
    tmp_path.chmod(0o755)
    with quota_disk(tmp_path) as place:
        yield place


def test_a_directory_holds_so_much_and_no_more(folder: Path) -> None:
    limited, free = folder / "limited", folder / "free"
    limited.mkdir()
    free.mkdir()
    set_project_quota(str(limited), 1 << 20)
    limited.chmod(0o777)
    # Not as root: CAP_SYS_RESOURCE goes beyond quotas (quotactl(2)); containers do not have it.
    script = f"dd if=/dev/zero of={limited}/file bs=64k count=64"
    done = subprocess.run(["sh", "-c", script], user=65534, group=65534, capture_output=True, text=True)
    assert "quota exceeded" in done.stderr.lower() or "No space left" in done.stderr
    assert (limited / "file").stat().st_size <= 1 << 20
    (free / "file").write_bytes(b"x" * (2 << 20))


def test_a_file_system_without_them_says_so(tmp_path: Path) -> None:
    place = tmp_path / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        with pytest.raises(OSError, match="quotactl_fd") as refused:
            set_project_quota(str(place), 1 << 20)
        assert refused.value.errno in (errno.ESRCH, errno.ENOSYS, errno.ENOTTY, errno.ENOTSUP)
    finally:
        subprocess.run(["umount", str(place)], check=True)
