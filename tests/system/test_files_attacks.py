"""Attacks on cp: no byte leaves the host or reaches it, whatever a container does meanwhile. security.md, 37.

CVE-2018-15664 (a directory swapped for a link), CVE-2019-14271 (code of the container run on the host),
CVE-2021-41089 and 2026-41567, 41568 (modes of host files, programs of the container, races with mounts).
"""

from __future__ import annotations

import ctypes
import gzip
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.system.engine_kit import Box, wait_until
from tests.system.files_kit import MemorySink, get, make_tar, put

from sampan.errors import InvalidArgument, NotFound, SampanError

SECRET = "of the host only"
_RENAME_EXCHANGE = 2
_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2


@pytest.fixture(scope="module")
def box(shared: Box) -> Box:
    return shared


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must stay as it is; its path does not exist in containers."""
    folder = tmp_path / "canary"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_text(SECRET)
    (folder / "sub" / "file").write_text(SECRET)
    before = {path: (path.lstat(), path.is_file() and path.read_bytes()) for path in folder.rglob("*")}
    yield folder
    after = {path: (path.lstat(), path.is_file() and path.read_bytes()) for path in folder.rglob("*")}
    assert after.keys() == before.keys()
    for path, (status, content) in after.items():
        old_status, old_content = before[path]
        assert content == old_content
        assert (status.st_mode, status.st_uid, status.st_mtime_ns) == (
            old_status.st_mode,
            old_status.st_uid,
            old_status.st_mtime_ns,
        )


@contextmanager
def swapping(root: Path, one: str, other: str) -> Iterator[None]:
    """Exchange two names of a container's root, as fast as the kernel can, as a process in it would."""
    stop = threading.Event()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)

    def swap() -> None:
        while not stop.is_set():
            _renameat2(fd, one.encode(), fd, other.encode(), _RENAME_EXCHANGE)

    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        os.close(fd)


@pytest.fixture
def victim(box: Box) -> Iterator[str]:
    ref = box.start("sleep", "1000")
    yield ref
    box.engine.containers.remove(ref, force=True)


def root_of(box: Box, ref: str) -> Path:
    return Path(f"/proc/{box.engine.containers.inspect(ref).State.Pid}/root")


@pytest.mark.parametrize("above", ["", "../../../../../.."], ids=["absolute", "upwards"])
def test_a_directory_swapped_for_a_link(box: Box, victim: str, canary: Path, above: str) -> None:
    """CVE-2018-15664, both ways, a few hundred times."""
    put(box, victim, "/", {"d": None, "d/sub": None, "d/file": "inside", "d/sub/file": "inside"})
    root = root_of(box, victim)
    os.symlink(f"{above}{canary}", root / "link")
    inside = 0
    with swapping(root, "d", "link"):
        for number in range(300):
            for path in ("/d/file", "/d", "/d/sub/file", "/d/."):
                with suppress(SampanError):
                    found = get(box, victim, path)
                    inside += b"inside" in found.values()
                    assert SECRET.encode() not in found.values()
            with suppress(SampanError):
                put(box, victim, "/d", {f"new{number}": "x", "sub": None, "sub/new": "x", "file": "x"})
            with suppress(SampanError):
                put(box, victim, "/", {"d/sub/new": "x", "d/file": "inside"})
            with suppress(SampanError):
                box.engine.containers.find_path(victim, "/d/file")
    assert inside, "the race was never won by the directory: nothing was tried"


def test_a_name_of_the_archive_swapped_for_a_link(box: Box, victim: str, canary: Path) -> None:
    """The directory that is being extracted becomes a link between two of its entries."""
    put(box, victim, "/tmp", {"t": None})
    root = root_of(box, victim)
    os.symlink(canary, root / "tmp" / "l")
    members: dict[str, object] = {"t": None}
    members |= {f"t/f{number}": "x" for number in range(200)}
    hard = tarfile.TarInfo("t/hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "t/f0"
    with swapping(root / "tmp", "t", "l"):
        for _ in range(50):
            with suppress(SampanError):
                put(box, victim, "/tmp", {**members, "t/hard": hard})


def test_a_walk_while_directories_move(box: Box, victim: str, canary: Path) -> None:
    put(
        box,
        victim,
        "/",
        {"a": None, "b": None, "a/x": None, "b/x": None, "a/x/file": "inside", "b/y": "inside"},
    )
    root = root_of(box, victim)
    with swapping(root, "a/x", "b/y"):
        for _ in range(200):
            with suppress(SampanError):
                assert SECRET.encode() not in get(box, victim, "/").values()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_links_of_all_kinds(box: Box, canary: Path, running: bool) -> None:
    ref = box.create("sleep", "1000")
    links = {
        "abs": str(canary),
        "up": f"../../../..{canary}",
        "self": "/proc/self/root" + str(canary),
        "init": "/proc/1/root" + str(canary),
        "cwd": "/proc/1/cwd",
        "fd": "/proc/1/fd/1",
        "thread": f"/proc/{os.getpid()}/root{canary}",
        "round": "round",
    }
    members: dict[str, object] = {}
    for name, target in links.items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        members[name] = info
    put(box, ref, "/", {"srv": None})
    put(box, ref, "/srv", members)
    if running:
        box.engine.containers.start(ref)
    try:
        for name in links:
            for path in (f"/srv/{name}/file", f"/srv/{name}/sub/file"):
                with pytest.raises((NotFound, InvalidArgument)):
                    get(box, ref, path)
            with pytest.raises((NotFound, InvalidArgument)):
                put(box, ref, f"/srv/{name}/sub", {"new": "x"})
            with suppress(SampanError):
                put(box, ref, "/srv", {f"{name}/new": "x"})
    finally:
        box.engine.containers.remove(ref, force=True)


def test_magic_links_with_the_hosts_processes(box: Box, canary: Path) -> None:
    """With the host's pid namespace /proc shows sampand itself, whose root is the host's."""
    ref = box.start("sleep", "1000", host={"PidMode": "host"})
    try:
        for path in (f"/proc/{os.getpid()}/root{canary}/file", f"/proc/self/root{canary}/file"):
            with pytest.raises((NotFound, InvalidArgument)):
                get(box, ref, path)
            with pytest.raises((NotFound, InvalidArgument)):
                put(box, ref, os.path.dirname(path), {"new": "x"})
    finally:
        box.engine.containers.remove(ref, force=True)


@pytest.mark.parametrize(
    "name",
    ["../../x", "/../x", "a/../../x", "x/../../../../../../../tmp/x"],
    ids=["up", "root", "later", "far"],
)
def test_names_that_leave_the_folder(box: Box, victim: str, canary: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="leads out of the root"):
        put(box, victim, "/tmp", {name: "x"})


def test_hard_links_to_the_host(box: Box, victim: str, canary: Path) -> None:
    link = tarfile.TarInfo("hard")
    link.type, link.linkname = tarfile.LNKTYPE, f"{canary}/file"
    with pytest.raises(InvalidArgument, match="cannot unpack"):
        put(box, victim, "/tmp", {"hard": link})


def test_the_mount_point_of_a_bind_becomes_a_link(box: Box, canary: Path, tmp_path: Path) -> None:
    """For a stopped container the binds are mounted anew, on what the container made of their places."""
    host = tmp_path / "host"
    host.mkdir()
    ref = box.create(
        "sh", "-c", f"rm -rf /place; ln -s {canary} /place", host={"Binds": [f"{host}:/other/x"]}
    )
    box.engine.containers.start(ref)
    wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
    other = box.create(
        "sh",
        "-c",
        f"umount /w/x; rm -rf /w; ln -s {canary} /w",
        host={"Binds": [f"{host}:/w/x"], "CapAdd": ["ALL"], "SecurityOpt": ["seccomp=unconfined"]},
    )
    box.engine.containers.start(other)
    wait_until(lambda: not box.engine.containers.inspect(other).State.Running, "the end")
    try:
        assert os.readlink(os.path.join(box.engine._core.store.snapshots.get(other).upper, "w")) == str(
            canary
        )  # type: ignore[arg-type]  # an id as text
        put(box, other, "/w/x", {"new": "x"})
        assert (host / "new").read_text() == "x"
        assert not (canary / "x").exists()
        with pytest.raises(NotFound):
            get(box, ref, "/place/file")
    finally:
        box.engine.containers.remove(ref, force=True)
        box.engine.containers.remove(other, force=True)


def test_devices_and_fifos_are_not_opened(box: Box, victim: str) -> None:
    disk, pipe = tarfile.TarInfo("disk"), tarfile.TarInfo("pipe")
    disk.type, disk.devmajor, disk.devminor = tarfile.CHRTYPE, 1, 5  # /dev/zero: reading it would never end
    pipe.type = tarfile.FIFOTYPE
    put(box, victim, "/tmp", {"disk": disk, "pipe": pipe})
    assert get(box, victim, "/tmp/disk") == {"disk": None}
    assert get(box, victim, "/tmp/pipe") == {"pipe": None}


def test_overlay_attributes_are_not_taken(box: Box, victim: str) -> None:
    info = tarfile.TarInfo("d")
    info.type = tarfile.DIRTYPE
    info.pax_headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.kept": "yes"}
    put(box, victim, "/tmp", {"d": info})
    path = root_of(box, victim) / "tmp" / "d"
    assert os.listxattr(path) == ["user.kept"]


def test_no_program_of_the_container_is_run(box: Box, victim: str, canary: Path) -> None:
    """Compressed uploads are inflated by us, not by an `unpigz` or `xz` that PATH may lead to."""
    script = f"#!/bin/sh\ntouch {canary}/run\ncat\n"
    programs = {}
    for name in ("unpigz", "xz", "gzip", "tar"):
        info = tarfile.TarInfo(name)
        info.mode, info.size = 0o755, len(script)
        programs[name] = info
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info in programs.values():
            archive.addfile(info, io.BytesIO(script.encode()))
    for folder in ("/bin", "/usr/bin"):
        with suppress(NotFound):
            box.engine.containers.extract(victim, folder, io.BytesIO(buffer.getvalue()))
    box.engine.containers.extract(victim, "/tmp", io.BytesIO(gzip.compress(make_tar({"z": "z"}))))
    assert get(box, victim, "/tmp/z") == {"z": b"z"}


def test_a_bomb_is_refused(box: Box, victim: str) -> None:
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 40
    bomb = gzip.compress(huge.tobuf() + bytes(64 << 20))
    with pytest.raises(InvalidArgument):
        box.engine.containers.extract(victim, "/tmp", MemorySink(bomb))
    assert get(box, victim, "/tmp") == {"tmp": None}


def test_an_archive_that_breaks_off_leaves_no_half_file(box: Box, victim: str) -> None:
    whole = make_tar({"first": "whole", "second": "x" * 100_000})
    with pytest.raises(InvalidArgument, match="ends in the middle"):
        box.engine.containers.extract(victim, "/tmp", MemorySink(whole[:50_000]))
    assert get(box, victim, "/tmp") == {"tmp": None, "tmp/first": b"whole"}


def test_the_stranger_with_a_reused_pid_is_never_opened(box: Box, victim: str) -> None:
    """The record names a process that is another one by now: its root is not the container's."""
    container = box.engine._core.index.get(victim)
    kept = container.record
    try:
        container.record = container.with_state(pid=os.getpid())
        assert list(get(box, victim, "/etc/passwd")) == ["passwd"]
        with pytest.raises(NotFound):
            get(box, victim, os.path.abspath(__file__))
    finally:
        container.record = kept
