"""A daemon whose disk is small enough to fill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.sampand import Sampand

from sampan.kernel.mounts import mount, umount


@contextmanager
def small_disk(folder: Path) -> Iterator[Sampand]:
    """Run a daemon whose data root has room for little more than one image."""
    disk = folder / "disk"
    disk.mkdir()
    mount("tmpfs", str(disk), "tmpfs", 0, "size=48m")
    try:
        daemon = Sampand(folder)
        daemon.data = disk / "data"
        daemon.start()
        daemon.load_busybox()
        yield daemon
        daemon.remove_containers()
        daemon.stop()
        daemon._remove_cgroups()
    finally:
        umount(str(disk))


def fill(small: Sampand, *, but: int) -> Path:
    """Leave so many bytes of the disk; return the file that takes the rest."""
    room = os.statvfs(small.data)
    filler = small.data / "filler"
    with open(filler, "wb") as file:
        file.write(b"x" * max(0, room.f_bavail * room.f_bsize - but))
    return filler
