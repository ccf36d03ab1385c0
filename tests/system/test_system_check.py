"""`system check` finds leftovers of every kind, planted here, removes them, and lets alone what is in use."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root, serve

pytestmark = [needs_root, needs_busybox]

SAMPAN = Path(sys.executable).parent / "sampan"
ID = "ab12" * 16


@pytest.fixture(autouse=True)
def tidy(sampand: Sampand) -> Iterator[None]:
    yield
    sampand.remove_containers()


def check(sampand: Sampand, *, repair: bool = False) -> list[dict[str, Any]]:
    answer = sampand.call("POST", f"/sampan/v1/system/check?repair={int(repair)}")
    findings: list[dict[str, Any]] = answer["Findings"]
    assert answer["Reclaimed"] == sum(one["Size"] for one in findings if one["State"] == "removed")
    return findings


def write(path: Path, size: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def cgroup_folder(sampand: Sampand) -> Path:
    name, root = sampand.cgroup_parent.strip("/"), Path("/sys/fs/cgroup")
    return next(path for path in (root / "freezer" / name, root / name) if path.is_dir())


def age(path: Path) -> Path:
    long_ago = time.time() - 2 * 86400
    os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    return path


def plant(sampand: Sampand, kind: str) -> Path:
    """Leave a thing of a kind behind, and return where it is."""
    data, run = sampand.data, sampand.run
    match kind:
        case "blob":
            return write(data / "images/blobs/sha256" / ID)
        case "layer":
            return write(data / "layers" / ID / "diff" / "file").parents[1]
        case "link":
            (data / "l/99999").symlink_to(f"../layers/{ID}/diff")
            return data / "l/99999"
        case "temporary":
            write(data / "tmp/layer-old" / "file")
            return age(data / "tmp/layer-old")
        case "container directory":
            return write(data / "containers" / ID / "upper" / "file").parents[1]
        case "run directory":
            return write(run / "containers" / ID / "state.json").parent
        case "cgroup":
            folder = cgroup_folder(sampand) / ID
            folder.mkdir()
            return folder
    raise AssertionError(kind)


@pytest.fixture
def running(sampand: Sampand) -> str:
    body = {"Image": "busybox", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}}
    container_id: str = sampand.call("POST", "/containers/create?name=runs", body)["Id"]
    sampand.call("POST", "/containers/runs/start")
    return container_id


def test_nothing_is_wrong(sampand: Sampand, running: str) -> None:
    assert check(sampand) == []
    assert check(sampand, repair=True) == []
    assert sampand.call("GET", "/containers/runs/json")["State"]["Running"]


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("blob", 100),
        ("layer", 100),
        ("link", None),
        ("temporary", 100),
        ("container directory", 100),
        ("run directory", 100),
        ("cgroup", 0),
    ],
)
def test_a_leftover_is_found_and_removed(sampand: Sampand, running: str, kind: str, size: int | None) -> None:
    path = plant(sampand, kind)
    (found,) = check(sampand)
    assert (found["Kind"], found["State"], found["Path"]) == (kind, "left over", str(path))
    assert size is None or found["Size"] == size
    assert os.path.lexists(path)
    (removed,) = check(sampand, repair=True)
    assert (removed["Kind"], removed["State"], removed["Error"]) == (kind, "removed", "")
    assert not os.path.lexists(path)
    assert check(sampand) == []
    assert sampand.call("GET", "/containers/runs/json")["State"]["Running"]


def test_a_cgroup_with_a_process_in_it(sampand: Sampand, running: str) -> None:
    folder = plant(sampand, "cgroup")
    with subprocess.Popen(["/bin/sleep", "100"]) as process:
        (folder / "cgroup.procs").write_text(str(process.pid))
        (removed,) = check(sampand, repair=True)
        assert (removed["State"], process.wait(10)) == ("removed", -9)
    assert not folder.exists()


@contextmanager
def mounted(point: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", point], check=False, stderr=subprocess.DEVNULL)


def test_a_mount_goes_before_its_directory(sampand: Sampand) -> None:
    folder = plant(sampand, "container directory")
    (folder / "rootfs").mkdir()
    with mounted(folder / "rootfs"):
        assert [one["Kind"] for one in check(sampand)] == ["mount", "container directory"]
        assert [one["State"] for one in check(sampand, repair=True)] == ["removed", "removed"]
        assert not folder.exists()
        assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_rows_without_files_and_files_that_are_missing(tmp_path_factory: pytest.TempPathFactory) -> None:
    own = serve(tmp_path_factory.mktemp("sampand"))
    try:
        own.call("POST", "/containers/create?name=kept", {"Image": "busybox", "Cmd": ["true"]})
        with apsw.Connection(str(own.data / "state.db")) as db:
            db.execute("INSERT INTO snapshots (container_id) VALUES (?)", (ID,))
        blob = next((own.data / "images/blobs/sha256").iterdir())
        kept = blob.read_bytes()
        blob.unlink()
        found = check(own, repair=True)
        assert [(one["Kind"], one["Name"], one["State"]) for one in found] == [
            ("snapshot", ID, "removed"),
            ("missing", f"blob {blob.name}", "missing"),
        ]
        blob.write_bytes(kept)
        assert check(own) == []
    finally:
        own.close()


def test_volumes_without_row_or_directory(sampand: Sampand) -> None:
    write(sampand.data / "volumes/found/_data/file")
    sampand.call("POST", "/volumes/create", {"Name": "lost"})
    (sampand.data / "volumes/lost/_data").rmdir()
    (sampand.data / "volumes/lost").rmdir()
    assert [(one["Name"], one["State"], one["Size"]) for one in check(sampand, repair=True)] == [
        ("found", "mended", 100),
        ("lost", "mended", 0),
    ]
    assert check(sampand) == []
    names = {volume["Name"] for volume in sampand.call("GET", "/volumes")["Volumes"]}
    assert {"found", "lost"} <= names
    assert (sampand.data / "volumes/found/_data/file").read_bytes() == b"x" * 100  # data is never removed
    for name in ("found", "lost"):
        assert sampand.request("DELETE", f"/volumes/{name}")[0] == 204


def test_beside_other_work(sampand: Sampand) -> None:
    """Containers and images come and go while checks repair: nothing of theirs is taken for left over."""
    stop = threading.Event()
    failures: list[object] = []

    def work(number: int) -> None:
        body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
        while not stop.is_set():
            created = sampand.call("POST", "/containers/create", body)["Id"]
            status = sampand.request("POST", f"/containers/{created}/start")[0]
            sampand.request("POST", f"/containers/{created}/wait")
            code = sampand.call("GET", f"/containers/{created}/json")["State"]["ExitCode"]
            removed = sampand.request("DELETE", f"/containers/{created}")[0]
            if (status, code, removed) != (204, 0, 204):
                failures.append((number, status, code, removed))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    found: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        found += check(sampand, repair=True)
    stop.set()
    for thread in threads:
        thread.join()
    assert (found, failures) == ([], [])


def sampan(sampand: Sampand, *arguments: str, code: int) -> list[str]:
    done = subprocess.run(
        [SAMPAN, "system", "check", *arguments],
        capture_output=True,
        env=sampand.environment,
        timeout=60,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_command(sampand: Sampand) -> None:
    assert sampan(sampand, code=0) == ["nothing is left over"]
    path = plant(sampand, "blob")
    head, row, last = sampan(sampand, code=1)
    assert head.split() == ["KIND", "NAME", "SIZE", "STATE", "PATH"]
    assert row.split() == ["blob", ID, "100B", "left", "over", str(path)]
    assert last == "1 found; --repair removes what is left over"
    assert sampan(sampand, "--repair", code=0)[-1] == "1 of 1 repaired, 100B reclaimed"
    assert not path.exists()
