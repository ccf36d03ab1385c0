"""Storage drivers: one contract for all of them, by mounts of the real kernel and the real fuse-overlayfs."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.system.sampand import wait_for
from tests.system.store_kit import describe, differences, entry, image_archive, tar

from sampan.engine.images.layer_views import root_mount
from sampan.errors import Unavailable
from sampan.ids import ContainerId, Digest, new_container_id
from sampan.kernel import fuse_overlay
from sampan.kernel.mounts import mount, umount
from sampan.kernel.namespaces import in_initial_user_namespace
from sampan.runtime.root_mounts import open_root_mount
from sampan.spec.image import ImageConfig, RootFS
from sampan.store.commits import capture
from sampan.store.model import Image
from sampan.store.places import make_places
from sampan.store.snapshotters import AUTO, FUSE_OVERLAY, NAMES, OVERLAY, PLAIN, Snapshot, Snapshotters
from sampan.store.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
DIRECTORY = tarfile.DIRTYPE
needs_fuse = pytest.mark.skipif(
    not fuse_overlay.find_program() or not Path(fuse_overlay.DEVICE).exists(),
    reason="no fuse-overlayfs (Debian: fuse-overlayfs), or no /dev/fuse",
)
LOWER = tar(
    entry("./", DIRECTORY, mode=0o711),
    (entry("keep"), b"1"),
    (entry("gone"), b"1"),
    (entry("old/a"), b"1"),
    (entry("merged/low"), b"1"),
    (entry("both"), b"low"),
    (entry("kind"), b"a file"),
    (entry("tree/deep/er/file"), b"1"),
)
UPPER = tar(
    entry(".wh.gone"),
    entry("old", DIRECTORY),
    entry("old/.wh..wh..opq"),
    (entry("old/b"), b"2"),
    (entry("merged/high"), b"3"),
    (entry("both"), b"high"),
    (entry("one", mode=0o640), b"linked"),
    entry("two", tarfile.LNKTYPE, linkname="one"),
    entry("link", tarfile.SYMTYPE, linkname="keep"),
    entry("kind", DIRECTORY, mode=0o750),
)


def load(store: Store, *layers: bytes) -> Image:
    (loaded,) = store.images.load(io.BytesIO(image_archive(layers)))
    return store.images.get(loaded.image_id)


@contextmanager
def mounted(snapshot: Snapshot) -> Iterator[Path]:
    """Mount as the runtime does, detached: nothing shows in the mount table."""
    fd = open_root_mount(root_mount(snapshot))
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def commit(store: Store, image: Image, snapshot: Snapshot) -> Image:
    def config(diff_ids: list[Digest]) -> ImageConfig:
        return ImageConfig(
            architecture=image.config.architecture, os="linux", rootfs=RootFS(diff_ids=list(diff_ids))
        )

    with store.snapshots.changes(snapshot) as upper:
        made = store.commits.make(image, upper, describe=config, reference=None, packed=lambda: None)
    return store.images.get(made)


def look(root: Path) -> dict[str, tuple[object, ...]]:
    """Describe a root but for times, of which archives keep the seconds."""
    return {name: (*facts[:4], *facts[5:]) for name, facts in describe(root).items()}


class Contract:
    """What every driver promises."""

    driver: str

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Store(str(tmp_path / "data"), storage_driver=self.driver) as opened:
            yield opened

    @pytest.fixture
    def image(self, store: Store) -> Image:
        return load(store, LOWER, UPPER)

    def test_layers_show_with_what_they_hide(self, store: Store, image: Image) -> None:
        with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
            assert not (root / "gone").exists()
            assert os.listdir(root / "old") == ["b"]
            assert sorted(os.listdir(root / "merged")) == ["high", "low"]
            assert (root / "both").read_bytes() == b"high"
            assert stat.S_IMODE((root / "kind").stat().st_mode) == 0o750
            assert os.readlink(root / "link") == "keep"
            assert (root / "one").stat().st_ino == (root / "two").stat().st_ino
            assert stat.S_IMODE(os.stat(f"{root}/").st_mode) == 0o711
            assert {".dockerenv", "dev", "etc", "proc", "sys"} <= set(os.listdir(root))

    def test_an_opaque_root_hides_all_layers_below(self, store: Store) -> None:
        image = load(store, LOWER, tar(entry(".wh..wh..opq"), (entry("only"), b"x")))
        with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
            assert sorted(os.listdir(root)) == [".dockerenv", "dev", "etc", "only", "proc", "sys"]

    def test_what_is_written_is_seen_by_nobody_else(self, store: Store, image: Image) -> None:
        one, two = (store.snapshots.prepare(new_container_id(), image) for _ in range(2))
        with mounted(one) as first, mounted(two) as second:
            (first / "keep").write_bytes(b"changed")
            (first / "one").unlink()
            shutil.rmtree(first / "tree")
            assert (second / "keep").read_bytes() == b"1"
            assert (second / "one").read_bytes() == b"linked"
        with mounted(store.snapshots.prepare(new_container_id(), image)) as third:
            assert (third / "keep").read_bytes() == b"1"
            assert (third / "tree/deep/er/file").exists()

    def test_a_changed_root_becomes_a_layer_that_shows_the_same(self, store: Store, image: Image) -> None:
        snapshot = store.snapshots.prepare(new_container_id(), image)
        with mounted(snapshot) as root:
            (root / "keep").write_bytes(b"2")  # the same size
            (root / "both").unlink()
            (root / "old" / "b").chmod(0o600)
            shutil.rmtree(root / "merged")
            (root / "merged").mkdir(mode=0o700)
            (root / "merged" / "new").write_bytes(b"x")
            (root / "kind").rmdir()
            (root / "kind").symlink_to("/keep")
            os.chown(root / "one", 0, 0)
            os.mkfifo(root / "fifo")
            (root / "more" / "folders").mkdir(parents=True)
            (root / "more" / "file").write_bytes(b"y")
            os.link(root / "more" / "file", root / "more" / "hard")
            os.setxattr(f"{root}/more/file", "user.note", b"kept")
            os.rename(root / "tree" / "deep" / "er" / "file", root / "moved")
            wanted = look(root)
            made = commit(store, image, snapshot)
        again = store.snapshots.prepare(new_container_id(), made)
        with mounted(again) as root:
            assert differences(wanted, look(root)) == []

    def test_a_time_that_was_set_back_hides_no_change(self, store: Store, image: Image) -> None:
        snapshot = store.snapshots.prepare(new_container_id(), image)
        with mounted(snapshot) as root:
            before = (root / "keep").stat()
            (root / "keep").write_bytes(b"7")
            os.utime(root / "keep", ns=(before.st_atime_ns, before.st_mtime_ns))
        with mounted(store.snapshots.prepare(new_container_id(), commit(store, image, snapshot))) as root:
            assert (root / "keep").read_bytes() == b"7"

    def test_the_layer_has_what_was_changed_and_nothing_else(
        self, store: Store, image: Image, tmp_path: Path
    ) -> None:
        snapshot = store.snapshots.prepare(new_container_id(), image)
        with mounted(snapshot) as root:
            (root / "tree" / "deep" / "new").write_bytes(b"x")
            (root / "keep").unlink()
            shutil.rmtree(root / "old")
            (root / "old").mkdir()
        with store.snapshots.changes(snapshot) as upper:
            captured = capture(upper, str(tmp_path / "layer"))
        with tarfile.open(captured.blob.path) as archive:
            names = set(archive.getnames())
        whole = {"tree", "tree/deep", "tree/deep/new", ".wh.keep", "old"}
        # An emptied directory is opaque, or hides each name: the same to every reader.
        assert names - {"old/.wh..wh..opq", "old/.wh.b"} == whole
        assert names & {"old/.wh..wh..opq", "old/.wh.b"}

    def test_an_untouched_root_has_no_changes(self, store: Store, image: Image, tmp_path: Path) -> None:
        container = new_container_id()
        snapshot = store.snapshots.prepare(container, image)
        with mounted(snapshot) as root:
            assert (root / "keep").read_bytes() == b"1"
        with store.snapshots.changes(snapshot) as upper:
            assert capture(upper, str(tmp_path / "layer")).entries == 0
        assert store.snapshots.usage(container) == 0

    def test_files_are_read_without_mounting(self, store: Store, image: Image) -> None:
        container = new_container_id()
        snapshot = store.snapshots.prepare(container, image)
        assert store.snapshots.read_file(container, "/link") == b"1"
        with mounted(snapshot) as root:
            (root / "keep").write_bytes(b"changed")
            (root / "both").unlink()
        assert store.snapshots.read_file(container, "/link") == b"changed"
        assert store.snapshots.read_file(container, "/both") is None
        assert store.snapshots.read_file(container, "/gone") is None
        assert store.snapshots.usage(container) == len(b"changed")

    def test_a_root_without_an_image_has_mount_points_only(self, store: Store) -> None:
        with mounted(store.snapshots.prepare(new_container_id(), None)) as root:
            assert sorted(os.listdir(root)) == [".dockerenv", "dev", "etc", "proc", "sys"]

    def test_a_hundred_layers(self, store: Store) -> None:
        image = load(store, *[tar((entry(f"f{n}"), b"x"), (entry("who"), b"%d" % n)) for n in range(100)])
        with mounted(store.snapshots.prepare(new_container_id(), image)) as root:
            assert (root / "who").read_bytes() == b"99"
            assert sum(name.startswith("f") for name in os.listdir(root)) == 100

    def test_a_container_keeps_its_driver(self, store: Store, image: Image, tmp_path: Path) -> None:
        container = new_container_id()
        snapshot = store.snapshots.prepare(container, image)
        with mounted(snapshot) as root:
            (root / "mine").write_bytes(b"1")
        store.close()
        other = next(name for name in NAMES if name != self.driver)
        with Store(str(tmp_path / "data"), storage_driver=other) as again:
            assert again.snapshots.get(container) == snapshot
            with mounted(again.snapshots.get(container)) as root:
                assert (root / "mine").read_bytes() == b"1"

    def test_a_removed_one_leaves_nothing(self, store: Store, image: Image, tmp_path: Path) -> None:
        container = new_container_id()
        with mounted(store.snapshots.prepare(container, image)) as root:
            (root / "mine").write_bytes(b"1")
        store.snapshots.remove(container)
        assert os.listdir(tmp_path / "data" / "containers") == []
        assert os.listdir(tmp_path / "data" / "tmp") == []
        assert servers(tmp_path) == []


def servers(folder: Path) -> list[str]:
    """Return the fuse-overlayfs programs that have a layer below folder, once those that end have ended."""

    def running() -> list[str]:
        found = []
        for link in Path("/proc").glob("[0-9]*/fd/4"):
            try:
                place, program = os.readlink(link), (link.parent.parent / "comm").read_text().strip()
            except OSError:
                continue
            if place.startswith(str(folder)) and program.startswith("fuse-overlay"):
                found.append(place)
        return found

    wait_for(lambda: not running(), "fuse-overlayfs ends with its mount")
    return running()


class TestOverlay(Contract):
    driver = OVERLAY


@needs_fuse
class TestFuseOverlay(Contract):
    driver = FUSE_OVERLAY


class TestPlain(Contract):
    driver = PLAIN


@pytest.mark.skipif(not in_initial_user_namespace(), reason="starts the user namespace")
def test_the_contract_holds_in_a_user_namespace() -> None:
    """Where trusted.* attributes cannot be had: overlayfs with userxattr."""
    box = ["unshare", "--user", "--map-root-user", "--mount"]
    tests = [f"{__file__}::TestOverlay", "-k", "becomes_a_layer or show_with or opaque_root"]
    command = [*box, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout, done.stdout
    assert "skipped" not in done.stdout, done.stdout


@contextmanager
def without_overlay(tmp_path: Path) -> Iterator[str]:
    """Give a directory that the kernel takes for no upper directory: it lies on a FUSE file system."""
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    fd = fuse_overlay.fuse_overlay_mount(
        lower=[str(tmp_path / "lower")], upper=str(tmp_path / "upper"), work=str(tmp_path / "work")
    )
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}/."
    finally:
        os.close(fd)


def test_overlayfs_is_chosen_where_it_works(tmp_path: Path) -> None:
    places = make_places(str(tmp_path / "data"))
    assert Snapshotters(places, AUTO).choose() == OVERLAY
    assert os.listdir(places.temporary) == []


@needs_fuse
def test_another_driver_is_chosen_where_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "realpath", lambda path: path)  # the detached mount has no other path
    with without_overlay(tmp_path) as folder:
        places = make_places(f"{folder}/data")
        assert Snapshotters(places, AUTO).choose() == FUSE_OVERLAY
        with pytest.raises(Unavailable, match=r"driver overlay2 cannot be used: .*overlay") as refused:
            Snapshotters(places, OVERLAY).choose()
        assert "--storage-driver auto" in refused.value.hint
        monkeypatch.setattr(fuse_overlay, "_FOLDERS", (str(tmp_path),))
        assert Snapshotters(places, AUTO).choose() == PLAIN
        with pytest.raises(Unavailable, match=r"fuse-overlayfs is not installed \(apt-get"):
            Snapshotters(places, FUSE_OVERLAY).choose()
        assert os.listdir(places.temporary) == []


@needs_fuse
def test_layers_that_do_not_fit_are_told_in_the_programs_words(tmp_path: Path) -> None:
    (tmp_path / "lower").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="fuse-overlayfs"):
        fuse_overlay.fuse_overlay_mount(
            lower=[str(tmp_path / "lower")], upper=str(tmp_path / "file"), work=str(tmp_path / "lower")
        )


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    mount("tmpfs", str(disk), "tmpfs", 0, "size=48m")
    try:
        yield disk
    finally:
        umount(str(disk))


def test_a_disk_that_fills_while_a_root_is_copied(tmp_path: Path) -> None:
    with tiny_disk(tmp_path) as disk, Store(f"{disk}/data", storage_driver=PLAIN) as store:
        image = load(store, tar((entry("large"), os.urandom(6 << 20)), (entry("small"), b"x")))
        made = [ContainerId(new_container_id()) for _ in range(20)]
        with pytest.raises(OSError, match="No space left"):
            for container in made:
                store.snapshots.prepare(container, image)
        known = {str(one) for one in store.snapshots.ids()}
        assert set(os.listdir(f"{disk}/data/containers")) == known
        assert os.listdir(f"{disk}/data/tmp") == []
