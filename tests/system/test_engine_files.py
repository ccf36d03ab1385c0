"""cp, diff and export: files of running and stopped containers, through binds and tmpfs."""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.engine_kit import Box, wait_until
from tests.system.files_kit import MemorySink, contents, get, make_tar, put

from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.spec import docker


@pytest.fixture(scope="module")
def box(shared: Box) -> Box:
    return shared


@pytest.fixture
def host_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    return folder


@pytest.fixture(params=["running", "paused", "stopped", "never started"])
def container(request: pytest.FixtureRequest, box: Box, host_folder: Path) -> Iterator[str]:
    """A container with a bind at /bound and one read-only at /fixed, in each state."""
    binds = [f"{host_folder}:/bound", f"{host_folder}:/fixed:ro"]
    ref = box.create("sleep", "1000", host={"Binds": binds}, User="")
    if request.param != "never started":
        box.engine.containers.start(ref)
    if request.param == "paused":
        box.engine.containers.pause(ref)
    if request.param == "stopped":
        box.engine.containers.stop(ref, timeout_s=0)
    yield ref
    box.engine.containers.remove(ref, force=True)


def test_a_file_goes_in_and_comes_out(box: Box, container: str) -> None:
    put(box, container, "/tmp", {"dir": None, "dir/file": "content"})
    assert get(box, container, "/tmp/dir/file") == {"file": b"content"}
    assert get(box, container, "/tmp/dir/") == {"dir": None, "dir/file": b"content"}
    assert get(box, container, "/tmp/dir/.") == {".": None, "./file": b"content"}


def test_binds_are_reached_and_respected(box: Box, container: str, host_folder: Path) -> None:
    put(box, container, "/bound", {"new": "from cp"})
    assert (host_folder / "new").read_text() == "from cp"
    assert get(box, container, "/fixed/new") == {"new": b"from cp"}
    with pytest.raises(InvalidArgument, match="mounted volume is marked read-only"):
        put(box, container, "/fixed", {"other": "x"})
    assert not (host_folder / "other").exists()


def test_what_is_written_is_there_for_the_program(box: Box) -> None:
    ref = box.create("cat", "/tmp/file")
    put(box, ref, "/tmp", {"file": "before the start"})
    try:
        box.engine.containers.start(ref)
        wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
        assert get(box, ref, "/tmp/file") == {"file": b"before the start"}
    finally:
        box.engine.containers.remove(ref, force=True)


def test_nothing_is_mounted_on_the_host(box: Box, container: str) -> None:
    with box.engine.containers.open_archive(container, "/etc"):
        assert container not in Path("/proc/self/mountinfo").read_text()


def test_a_tmpfs_of_a_running_container_is_its_own(box: Box) -> None:
    ref = box.start("sleep", "1000", host={"Tmpfs": {"/scratch": ""}, "ReadonlyRootfs": True})
    try:
        box.exec(ref, "sh", "-c", "echo inside > /scratch/a")
        assert get(box, ref, "/scratch/a") == {"a": b"inside\n"}
        put(box, ref, "/scratch", {"b": "outside"})
        assert box.exec(ref, "cat", "/scratch/b").stdout == b"outside"
        with pytest.raises(InvalidArgument, match="container rootfs is marked read-only"):
            put(box, ref, "/etc", {"b": "outside"})
        box.engine.containers.stop(ref, timeout_s=0)
        with pytest.raises(InvalidArgument, match="container rootfs is marked read-only"):
            put(box, ref, "/etc", {"b": "outside"})
    finally:
        box.engine.containers.remove(ref, force=True)


def test_what_a_path_is(box: Box, container: str) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "../etc/passwd"
    setuid = tarfile.TarInfo("setuid")
    setuid.mode = 0o4711
    put(box, container, "/tmp", {"link": link, "setuid": setuid})
    found = box.engine.containers.find_path(container, "/tmp/link")
    assert (found.name, found.mode, found.linkTarget) == ("link", 1 << 27 | 0o777, "/etc/passwd")
    assert box.engine.containers.find_path(container, "/tmp/setuid").mode == 1 << 23 | 0o711
    root = box.engine.containers.find_path(container, "/")
    assert (root.name, root.mode >> 31, root.linkTarget) == ("/", 1, "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", root.mtime)


@pytest.mark.parametrize(
    ("path", "error", "match"),
    [
        pytest.param("/nope", NotFound, "Could not find the file /nope in container box", id="not there"),
        pytest.param("/etc/passwd/", InvalidArgument, "not a directory", id="a file with a slash"),
        pytest.param("/etc/passwd/x", InvalidArgument, "not a directory", id="below a file"),
    ],
)
def test_errors_of_look_ups(box: Box, path: str, error: type[SampanError], match: str) -> None:
    ref = box.create("true", name="box")
    try:
        with pytest.raises(error, match=match):
            box.engine.containers.find_path("box", path)
        with pytest.raises(error, match=match):
            box.engine.containers.open_archive("box", path)
    finally:
        box.engine.containers.remove(ref)


def test_errors_of_extractions(box: Box, container: str) -> None:
    with pytest.raises(InvalidArgument, match="extraction point is not a directory"):
        put(box, container, "/etc/passwd", {"x": "x"})
    with pytest.raises(NotFound, match="Could not find the file /nope in container"):
        put(box, container, "/nope", {"x": "x"})
    with pytest.raises(InvalidArgument, match='cannot overwrite directory "/tmp" with non-directory "/"'):
        put(box, container, "/", {"tmp": "a file"}, keep_kinds=True)
    with pytest.raises(InvalidArgument, match="not a tar archive"):
        box.engine.containers.extract(container, "/tmp", MemorySink(b"x" * 1024))
    with pytest.raises(Conflict, match="device or resource busy"):
        put(box, container, "/", {"bound": "a file over a mount point"})


def test_owners_are_the_archives_or_the_users(box: Box) -> None:
    ref = box.create("true", User="1000:100")
    mine = tarfile.TarInfo("mine")
    mine.uid, mine.gid = 7, 8
    try:
        put(box, ref, "/tmp", {"mine": mine})
        put(box, ref, "/home", {"mine": mine}, own_by_user=True)
        owners = {}
        for path in ("/tmp/mine", "/home/mine"):
            sink = MemorySink()
            with box.engine.containers.open_archive(ref, path) as archive:
                archive.write(sink)
            sink.seek(0)
            with tarfile.open(fileobj=sink) as opened:
                (member,) = opened
                owners[path] = (member.uid, member.gid)
        assert owners == {"/tmp/mine": (7, 8), "/home/mine": (1000, 100)}
    finally:
        box.engine.containers.remove(ref)


def test_special_files_survive(box: Box, container: str) -> None:
    fifo, device = tarfile.TarInfo("fifo"), tarfile.TarInfo("null")
    fifo.type = tarfile.FIFOTYPE
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    hard = tarfile.TarInfo("hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "first"
    put(box, container, "/root", {"fifo": fifo, "null": device, "first": "x", "hard": hard})
    sink = MemorySink()
    with box.engine.containers.open_archive(container, "/root/.") as archive:
        archive.write(sink)
    sink.seek(0)
    with tarfile.open(fileobj=sink) as opened:
        members = {member.name: member for member in opened}
    assert members["./fifo"].isfifo()
    assert (members["./null"].devmajor, members["./null"].devminor) == (1, 3)
    assert members["./hard"].islnk()


def test_two_starts_do_not_share_a_root_with_a_copy(box: Box) -> None:
    """A container is not started while its root is mounted for a copy."""
    from sampan.engine.lifecycle import launching

    ref = box.create("true")
    kept, launching._COPY_S = launching._COPY_S, 0.05  # type: ignore[misc]  # a test does not wait half a minute
    try:
        with box.engine.containers.open_archive(ref, "/etc"):
            with pytest.raises(Conflict, match="its files are being copied"):
                box.engine.containers.start(ref)
        box.engine.containers.start(ref)
    finally:
        launching._COPY_S = kept  # type: ignore[misc]  # as above
        box.engine.containers.remove(ref, force=True)


def diff(box: Box, ref: str) -> list[str]:
    return [f"{'CAD'[change.Kind]} {change.Path}" for change in box.engine.containers.changes(ref)]


SCRIPT = """
set -e
touch /new; mkdir -p /made/deep; echo x > /made/deep/file
rm /etc/passwd; echo more >> /etc/group
rm -r /home; mkdir /home; touch /home/x
chmod 711 /root
mkdir /gone; rmdir /gone
"""


def test_diff(box: Box, host_folder: Path) -> None:
    ref = box.start("sh", "-c", SCRIPT, host={"Binds": [f"{host_folder}:/mnt/a/b"], "Tmpfs": {"/t": ""}})
    try:
        wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
        assert box.engine.containers.inspect(ref).State.ExitCode == 0
        want = [
            "C /etc",
            "C /etc/group",
            "D /etc/passwd",
            "C /home",
            "A /home/x",
            "A /made",
            "A /made/deep",
            "A /made/deep/file",
            "A /new",
            "C /root",
        ]
        assert diff(box, ref) == want
    finally:
        box.engine.containers.remove(ref)


def test_an_untouched_container_has_no_changes(box: Box, host_folder: Path) -> None:
    ref = box.start("true", host={"Binds": [f"{host_folder}:/var/new/place"]})
    try:
        wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
        assert diff(box, ref) == []
    finally:
        box.engine.containers.remove(ref)


def test_what_a_replaced_directory_had_is_deleted(box: Box) -> None:
    ref = box.start(
        "sh", "-c", "rm -r /etc; mkdir /etc; echo x > /etc/passwd", host={"ReadonlyRootfs": False}
    )
    try:
        wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
        found = diff(box, ref)
        if "C /etc" in found:  # /etc itself may be kept in use by what is mounted in it
            assert "D /etc/group" in found
            assert "C /etc/passwd" in found
    finally:
        box.engine.containers.remove(ref)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_export_is_the_root_without_mounts(box: Box, host_folder: Path, running: bool) -> None:
    (host_folder / "secret").write_text("of the host")
    ref = box.create("sleep", "1000", host={"Binds": [f"{host_folder}:/bound"], "Tmpfs": {"/t": ""}})
    put(box, ref, "/tmp", {"mine": "mine"})
    box.engine.containers.start(ref)
    if not running:
        box.engine.containers.stop(ref, timeout_s=0)
    try:
        sink = MemorySink()
        with box.engine.containers.open_export(ref) as archive:
            archive.write(sink)
        found = contents(sink.getvalue())
        assert found["tmp/mine"] == b"mine"
        assert "bin/busybox" in found
        assert "bound" in found
        assert "." not in found
        assert [
            name for name in found if name.startswith(("bound/", "proc/", "sys/", "t/", "dev/null"))
        ] == []
    finally:
        box.engine.containers.remove(ref, force=True)


def test_what_the_kernel_makes_up_is_not_copied(box: Box, host_folder: Path) -> None:
    (host_folder / "file").write_text("x")
    ref = box.start("sleep", "1000", host={"Binds": [f"{host_folder}:/bound"], "Tmpfs": {"/t": ""}})
    box.exec(ref, "touch", "/t/mine")
    try:
        found = get(box, ref, "/")
        assert {"/bound/file", "/t/mine", "/proc", "/sys", "/dev"} <= set(found)
        assert [name for name in found if name.startswith(("/proc/", "/sys/", "/dev/"))] == []
        for path in ("/proc/cpuinfo", "/sys/kernel", "/proc/self/status"):
            with pytest.raises((NotFound, InvalidArgument)):
                get(box, ref, path)
    finally:
        box.engine.containers.remove(ref, force=True)


def test_events(box: Box) -> None:
    events: list[docker.Event] = []
    subscription = box.engine.events.subscribe(events.append)
    ref = box.create("true")
    try:
        put(box, ref, "/tmp", {"x": "x"})
        get(box, ref, "/tmp/x")
        with box.engine.containers.open_export(ref) as archive:
            archive.write(MemorySink())
    finally:
        box.engine.containers.remove(ref)
        subscription.cancel()
    actions = [event.Action for event in events]
    assert actions[:4] == ["create", "extract-to-dir", "archive-path", "export"]


def test_a_compressed_archive_is_recognised(box: Box) -> None:
    import bz2
    import gzip
    import lzma

    ref = box.create("true")
    try:
        for number, compress in enumerate((gzip.compress, bz2.compress, lzma.compress)):
            data = compress(make_tar({f"file{number}": "x"}))
            box.engine.containers.extract(ref, "/tmp", MemorySink(data))
        assert len(get(box, ref, "/tmp")) == 4
    finally:
        box.engine.containers.remove(ref)


def test_a_deep_tree_is_packed(box: Box) -> None:
    ref = box.start("sh", "-c", "i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; touch end")
    try:
        wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
        before = len(os.listdir("/proc/self/fd"))
        assert len(get(box, ref, "/d")) == 301
        assert len(os.listdir("/proc/self/fd")) <= before
    finally:
        box.engine.containers.remove(ref)


def test_modes_of_what_is_extracted(box: Box, container: str) -> None:
    info = tarfile.TarInfo("run")
    info.mode = 0o6755
    put(box, container, "/tmp", {"run": info})
    mode = box.engine.containers.find_path(container, "/tmp/run").mode
    assert mode == 1 << 23 | 1 << 22 | 0o755
    assert stat.S_IMODE(0o6755) == 0o6755
