"""`--storage-opt size=`: what a container may write to its root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.system.engine_kit import Box
from tests.system.quota_disk import quota_disk
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs mkfs.ext4")
def test_a_root_holds_so_much_and_no_more(tmp_path: Path) -> None:
    with quota_disk(tmp_path) as place:
        box = Box(place).load_busybox()
        try:
            ref = box.start("sleep", "1000", host={"StorageOpt": {"size": "2m"}})
            done = box.exec(ref, "dd", "if=/dev/zero", "of=/file", "bs=64k", "count=64")
            assert (done.code, b"quota exceeded" in done.stderr.lower()) == (1, True), done.stderr
            assert box.exec(ref, "sh", "-c", "rm /file; mkdir /d; mv /etc/passwd /d/p").code == 0
            assert box.exec(ref, "dd", "if=/dev/zero", "of=/file", "bs=64k", "count=16").code == 0
            box.engine.containers.restart(ref, timeout_s=0)
            assert box.exec(ref, "dd", "if=/dev/zero", "of=/more", "bs=64k", "count=32").code == 1
            assert len(box.engine.containers.changes(ref)) > 3
            box.engine.containers.remove(ref, force=True)
            free = box.run("dd", "if=/dev/zero", "of=/file", "bs=64k", "count=64")
            assert free.code == 0, free.stderr
        finally:
            box.close()


def test_where_nothing_can_be_limited(sampand: Sampand) -> None:
    flags = ("create", "--storage-opt", "size=1m", "--name", "limited", "busybox")
    refused = sampand.docker(*flags)
    if refused.code == 0:
        pytest.skip("the file system of the tests has project quotas")
    assert "the size of a container's root cannot be limited: no project quotas" in refused.err
    assert "hint: the data root needs" in sampand.sampan(*flags).err
    assert sampand.docker("inspect", "limited").code != 0
    assert [name for name in os.listdir(sampand.data / "tmp") if "container" in name] == []
