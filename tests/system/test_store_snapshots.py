"""Snapshots as the kernel sees them: overlay mounts of our layers, the init layer, removal."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.store_kit import entry, image_archive, tar

from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.ids import new_container_id
from sampan.kernel.constants import MNT_DETACH, MS_BIND
from sampan.kernel.files import open_in_root
from sampan.kernel.mounts import mount, overlay_mount, umount
from sampan.store.model import Image
from sampan.store.snapshots import Snapshot
from sampan.store.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
DIRECTORY, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE
FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x40086602, 0x10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "data")) as opened:
        yield opened


def load(store: Store, *layers: bytes) -> Image:
    (loaded,) = store.images.load(io.BytesIO(image_archive(layers)))
    return store.images.get(loaded.image_id)


@contextmanager
def mounted(snapshot: Snapshot) -> Iterator[Path]:
    """Mount as the runtime does, detached: nothing shows in the mount table."""
    fd = overlay_mount(
        lower=snapshot.lower, upper=snapshot.upper, work=snapshot.work, options=snapshot.options
    )
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_the_kernel_shows_layers_whiteouts_and_opaque_directories(store: Store) -> None:
    image = load(
        store,
        tar(
            entry("./", DIRECTORY, mode=0o711),
            (entry("keep"), b"1"),
            (entry("gone"), b"1"),
            (entry("old/a"), b"1"),
            (entry("merged/low"), b"1"),
            (entry("both"), b"low"),
        ),
        tar(entry(".wh.gone"), entry("old", DIRECTORY), entry("old/.wh..wh..opq"), (entry("old/b"), b"2")),
        tar((entry("merged/high"), b"3"), (entry("both"), b"high")),
    )
    with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
        assert (root / "keep").read_bytes() == b"1"
        assert not (root / "gone").exists()
        assert os.listdir(root / "old") == ["b"]
        assert sorted(os.listdir(root / "merged")) == ["high", "low"]
        assert (root / "both").read_bytes() == b"high"
        assert stat.S_IMODE(os.stat(f"{root}/").st_mode) == 0o711, "the root keeps the mode of the image"


def test_an_opaque_root_hides_all_layers_below(store: Store, tmp_path: Path) -> None:
    """Overlayfs itself does not: it merges the roots of all layers."""
    image = load(
        store,
        tar((entry("low"), b"x"), (entry("both/low"), b"x")),
        tar(entry(".wh..wh..opq"), (entry("middle"), b"x")),
        tar((entry("both/high"), b"x")),
    )
    container = new_container_id()
    snapshot = store.snapshots.prepare(container, image)
    with mounted(snapshot) as root:
        assert sorted(os.listdir(root)) == [".dockerenv", "both", "dev", "etc", "middle", "proc", "sys"]
        assert os.listdir(root / "both") == ["high"]
    assert store.snapshots.read_file(container, "/low") is None
    store.close()
    with Store(str(tmp_path / "data")) as again:
        assert again.snapshots.get(container) == snapshot


def test_two_containers_share_layers_and_nothing_else(store: Store) -> None:
    image = load(store, tar((entry("file"), b"image")))
    one, two = (store.snapshots.prepare(new_container_id(), image) for _ in range(2))
    assert one.lower == two.lower
    with mounted(one) as first, mounted(two) as second:
        (first / "file").write_bytes(b"changed")
        assert (second / "file").read_bytes() == b"image"


def test_a_hundred_and_fifty_layers_are_mounted(store: Store) -> None:
    image = load(
        store, *[tar((entry(f"f{number}"), b"x"), (entry("who"), b"%d" % number)) for number in range(150)]
    )
    with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
        assert (root / "who").read_bytes() == b"149"
        assert sum(1 for name in os.listdir(root) if name.startswith("f")) == 150


def test_without_an_image_there_are_only_mount_points(store: Store) -> None:
    with mounted(store.snapshots.prepare(new_container_id(), None)) as root:
        assert sorted(os.listdir(root)) == [".dockerenv", "dev", "etc", "proc", "sys"]
        assert sorted(os.listdir(root / "etc")) == ["hostname", "hosts", "mtab", "resolv.conf"]
        assert os.readlink(root / "etc" / "mtab") == "/proc/mounts"


def test_mount_points_cover_links_in_the_image_and_follow_none(store: Store, tmp_path: Path) -> None:
    """CVE-2024-5154, 2024-9341, 2019-19921: the image must not choose what is mounted over or written to."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "hosts").write_bytes(b"of the host")
    image = load(
        store,
        tar(
            entry("etc", LINK, linkname=str(victim)),
            entry("proc", LINK, linkname=str(victim)),
            entry("dev", LINK, linkname=str(victim)),
        ),
    )
    with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
        for name in ("etc", "proc", "dev", "dev/shm", "sys"):
            assert stat.S_ISDIR((root / name).lstat().st_mode), name
        assert (root / "etc" / "hosts").read_bytes() == b""
    assert os.listdir(victim) == ["hosts"]
    assert (victim / "hosts").read_bytes() == b"of the host"


def test_files_in_the_place_of_mount_points_are_covered(store: Store) -> None:
    image = load(
        store,
        tar(
            entry("etc", DIRECTORY, mode=0o700, uid=5, gid=6),
            (entry("etc/passwd"), b"root:x:0:0::/:/bin/sh\n"),
            entry("etc/hosts", LINK, linkname="/etc/passwd"),
            (entry("etc/mtab"), b"old"),
            (entry("proc"), b"a file"),
        ),
    )
    with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
        assert stat.S_ISREG((root / "etc" / "hosts").lstat().st_mode)
        assert os.readlink(root / "etc" / "mtab") == "/proc/mounts"
        assert (root / "proc").is_dir()
        assert (root / "etc" / "passwd").exists(), "the rest of the image's directory shows through"
        status = (root / "etc").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o700, 5, 6)


def test_directories_without_an_entry_get_the_attributes_below(store: Store) -> None:
    image = load(
        store,
        tar(entry("tmp", DIRECTORY, mode=0o1777, uid=3, mtime=1000)),
        tar((entry("tmp/sub/file"), b"x")),
        tar((entry("tmp/sub/other"), b"x"), entry("tmp/sub", DIRECTORY, mode=0o700)),
    )
    with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
        status = (root / "tmp").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o1777, 3, 1000)
        assert stat.S_IMODE((root / "tmp" / "sub").stat().st_mode) == 0o700


def test_a_second_snapshot_for_a_container_is_refused(store: Store) -> None:
    container = new_container_id()
    snapshot = store.snapshots.prepare(container, None)
    with pytest.raises(Conflict, match="has a snapshot already"):
        store.snapshots.prepare(container, None)
    assert store.snapshots.get(container) == snapshot, "the first one is untouched"


def test_a_failed_prepare_leaves_nothing(store: Store, tmp_path: Path) -> None:
    container = new_container_id()
    folder = tmp_path / "data" / "containers" / container
    (folder / "work").mkdir(parents=True)  # in the way
    with pytest.raises(FileExistsError):
        store.snapshots.prepare(container, None)
    assert os.listdir(folder) == ["work"]
    with pytest.raises(NotFound):
        store.snapshots.get(container)


# --- removal ---------------------------------------------------------------------------------------------


def fill(upper: Path) -> None:
    """Make what is hard to remove: odd modes, devices, sockets, a FIFO, links out, 3,000 levels."""
    (upper / "closed" / "inner").mkdir(parents=True)
    (upper / "closed").chmod(0)
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(upper / "fifo")
    (upper / "out").symlink_to("/etc")
    (upper / b"\xff\n".decode(errors="surrogateescape")).touch()
    fd = os.open(upper, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=fd)
        child = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(fd)


def test_removal_takes_everything(store: Store, tmp_path: Path) -> None:
    container = new_container_id()
    fill(Path(store.snapshots.prepare(container, None).upper))
    store.snapshots.remove(container)
    store.snapshots.remove(container)  # once more is no error
    assert os.listdir(tmp_path / "data" / "containers") == []
    assert os.listdir(tmp_path / "data" / "tmp") == []
    assert os.path.exists("/etc/passwd")


def test_removal_takes_immutable_files(store: Store, tmp_path: Path) -> None:
    container = new_container_id()
    upper = Path(store.snapshots.prepare(container, None).upper)
    (upper / "directory").mkdir()
    for path in (upper / "directory" / "file", upper / "directory"):
        if path.name == "file":
            path.touch()
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("i", FS_IMMUTABLE_FL))
        except OSError:
            pytest.skip("this file system has no immutable flag")
        finally:
            os.close(fd)
    with pytest.raises(PermissionError):
        os.unlink(upper / "directory" / "file")
    store.snapshots.remove(container)
    assert os.listdir(tmp_path / "data" / "tmp") == []


def test_removal_never_goes_through_a_mount(store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x")
    container = new_container_id()
    snapshot = store.snapshots.prepare(container, None)
    mount(str(precious), snapshot.root, None, MS_BIND)
    try:
        with pytest.raises(Conflict, match="still mounted"):
            store.snapshots.remove(container)
        assert store.snapshots.get(container) == snapshot
    finally:
        umount(snapshot.root, MNT_DETACH)
    assert (precious / "file").read_bytes() == b"x"
    store.snapshots.remove(container)


def test_usage_counts_the_containers_own_files_once(store: Store) -> None:
    container = new_container_id()
    upper = Path(store.snapshots.prepare(container, None).upper)
    (upper / "a").mkdir()
    (upper / "a" / "file").write_bytes(bytes(1000))
    os.link(upper / "a" / "file", upper / "link")
    assert store.snapshots.usage(container) == 1000


def test_layers_stay_as_long_as_a_snapshot_needs_them(store: Store, tmp_path: Path) -> None:
    image = load(store, tar((entry("file"), b"x")))
    container = new_container_id()
    snapshot = store.snapshots.prepare(container, image)
    store.images.remove(image.id, force=True, users=lambda _id: [])
    with mounted(snapshot) as root:
        assert (root / "file").read_bytes() == b"x"
    store.snapshots.remove(container)
    assert os.listdir(tmp_path / "data" / "l") == []
    assert not [name for name in os.listdir(tmp_path / "data" / "layers") if name != "scratch"]


def test_sweep_removes_unknown_containers_only(store: Store, tmp_path: Path) -> None:
    known, unknown, unrecorded = (new_container_id() for _ in range(3))
    store.snapshots.prepare(known, None)
    store.snapshots.prepare(unknown, None)
    (tmp_path / "data" / "containers" / unrecorded).mkdir()
    assert store.snapshots.sweep([known]) == sorted([unknown, unrecorded])
    assert os.listdir(tmp_path / "data" / "containers") == [known]


def test_many_containers_at_once(store: Store) -> None:
    image = load(store, tar((entry("file"), b"x")))
    failures: list[BaseException] = []

    def live() -> None:
        try:
            for _ in range(20):
                container = new_container_id()
                store.snapshots.prepare(container, image)
                store.snapshots.remove(container)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=live) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- reading without mounting ----------------------------------------------------------------------------


def view_image(store: Store) -> Image:
    return load(
        store,
        tar(
            (entry("etc/passwd"), b"low"),
            (entry("usr/lib/real"), b"through links"),
            entry("lib", LINK, linkname="usr/lib"),
            entry("abs", LINK, linkname="/lib/real"),
            entry("up", LINK, linkname="../../../lib/../lib/real"),
            entry("loop", LINK, linkname="loop"),
            (entry("gone"), b"x"),
            (entry("opaque/low"), b"x"),
            entry("fifo", tarfile.FIFOTYPE),
            (entry("large"), bytes((10 << 20) + 1)),
            entry("to-dir", LINK, linkname="usr"),
            entry("host", LINK, linkname="/proc/self/root/etc/passwd"),
            (entry("shadowed/file"), b"x"),
        ),
        tar(
            (entry("etc/passwd"), b"high"),
            entry(".wh.gone"),
            entry("opaque", DIRECTORY),
            entry("opaque/.wh..wh..opq"),
            (entry("shadowed"), b"a file now"),
        ),
    )


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("/etc/passwd", b"high"),
        ("etc/../etc/./passwd", b"high"),
        ("/lib/real", b"through links"),
        ("/abs", b"through links"),
        ("/up", b"through links"),
        ("/../../etc/passwd", b"high"),
        ("/gone", None),
        ("/opaque/low", None),
        ("/shadowed/file", None),
        ("/etc/passwd/below", None),
        ("/missing/passwd", None),
        ("/host", None),
    ],
)
def test_files_are_read_as_the_kernel_would_show_them(store: Store, path: str, want: bytes | None) -> None:
    container = new_container_id()
    snapshot = store.snapshots.prepare(container, view_image(store))
    assert store.snapshots.read_file(container, path) == want
    if want is not None and ".." not in path:
        with mounted(snapshot) as root:
            fd = os.open(f"{root}/", os.O_PATH)
            try:
                with open(open_in_root(fd, path, os.O_RDONLY), "rb") as file:
                    assert file.read() == want
            finally:
                os.close(fd)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/loop", "too many links"),
        ("/fifo", "no regular file"),
        ("/large", "is the most"),
        ("/to-dir", "no regular file"),
        ("/", "no regular file"),
    ],
)
def test_files_that_must_not_be_read(store: Store, path: str, message: str) -> None:
    container = new_container_id()
    store.snapshots.prepare(container, view_image(store))
    with pytest.raises(InvalidArgument, match=message):
        store.snapshots.read_file(container, path)


def test_the_containers_own_changes_are_seen(store: Store) -> None:
    container = new_container_id()
    snapshot = store.snapshots.prepare(container, view_image(store))
    with mounted(snapshot) as root:
        (root / "etc" / "passwd").write_bytes(b"changed")
        (root / "usr" / "lib" / "real").unlink()
    assert store.snapshots.read_file(container, "/etc/passwd") == b"changed"
    assert store.snapshots.read_file(container, "/abs") is None
