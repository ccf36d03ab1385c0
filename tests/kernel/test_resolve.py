from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernel.harness import run_isolated

from sampan.kernel import constants as c
from sampan.kernel.files import mkdir_in_root, open_in_root, openat2, reopen, touch_in_root
from sampan.kernel.mounts import mount
from sampan.kernel.process import list_fds
from sampan.kernel.syscall import MACHINE, switched_off, syscall

RENAMEAT2 = 316 if MACHINE == "x86_64" else 276
RENAME_EXCHANGE = 2
both = pytest.mark.parametrize("off", [(), ("openat2",)], ids=["call", "walk"])


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A root directory with all kinds of links, and something outside that must not be reached."""
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "dir-outside").mkdir()
    top = tmp_path / "root"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_text("inside")
    links = {
        "absolute": "/a/file",
        "relative": "a/file",
        "up-and-out": "../secret",
        "far-up": "../../../../../../../../../a/file",
        "absolute-out": f"{tmp_path}/secret",
        "dir-link": "/a",
        "dir-out": "../dir-outside",
        "chain": "chain-2",
        "chain-2": "a/../dir-link/../chain-3",
        "chain-3": "/absolute",
        "loop": "loop",
        "loop-a": "loop-b/x",
        "loop-b": "loop-a",
        "dangling": "/made/later",
        "dangling-out": "/../../made/later",
        "a/up": "..",
        "empty-parts": "//a///./file",
        "with-slash": "a/",
        "file-with-slash": "a/file/",
    }
    for name, target in links.items():
        os.symlink(target, top / name)
    os.mkfifo(top / "fifo")
    fd = os.open(top, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


PATHS = [
    "a/file",
    "/a/file",
    "//a//./file",
    "a/b/../file",
    "../../a/file",
    "absolute",
    "relative",
    "up-and-out",
    "far-up",
    "absolute-out",
    "dir-link/file",
    "dir-link/../a/file",
    "dir-out/../secret",
    "chain",
    "loop",
    "loop-a",
    "dangling",
    "missing/x",
    "a/file/x",
    "a/file/",
    "a/file/.",
    "a/",
    ".",
    "/",
    "..",
    "a/up/a/up/a/file",
    "empty-parts",
    "with-slash",
    "with-slash/file",
    "file-with-slash",
    "a/b/..",
    "fifo",
    "",
    "x" * 300,
]
FLAGS = {
    "path": os.O_PATH,
    "path, no follow": os.O_PATH | os.O_NOFOLLOW,
    "directory": os.O_PATH | os.O_DIRECTORY,
    "read": os.O_RDONLY | os.O_NONBLOCK,
    "read, no follow": os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK,
}


def outcome(call: Callable[[], int]) -> tuple[str, object]:
    """Return what was opened as (device, inode), or the errno; nothing stays open."""
    try:
        fd = call()
    except OSError as exc:
        return ("error", exc.errno)
    try:
        status = os.fstat(fd)
        return ("inode", (status.st_dev, status.st_ino))
    finally:
        os.close(fd)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path)[:25])
@pytest.mark.parametrize(
    "resolve",
    [
        c.RESOLVE_IN_ROOT,
        c.RESOLVE_BENEATH,
        c.RESOLVE_IN_ROOT | c.RESOLVE_NO_SYMLINKS,
        c.RESOLVE_NO_SYMLINKS,
        c.RESOLVE_NO_XDEV,
    ],
    ids=["in root", "beneath", "in root, no links", "no links", "no other mount"],
)
def test_the_walk_answers_as_the_kernel_does(root: int, path: str, flags: int, resolve: int) -> None:
    by_kernel = outcome(lambda: openat2(root, path, flags, resolve=resolve))
    with switched_off("openat2"):
        by_walk = outcome(lambda: openat2(root, path, flags, resolve=resolve))
    if (path, resolve) == ("chain", c.RESOLVE_NO_XDEV) and flags & os.O_NOFOLLOW == 0:
        # Having met "..", the kernel follows an absolute link that stays on the mount; the walk never does.
        assert by_walk == ("error", errno.EXDEV)
    else:
        assert by_walk == by_kernel


names = st.sampled_from(["a", "b", "c", "..", ".", ""])
paths = st.lists(names, min_size=1, max_size=6).map("/".join)
entries = st.one_of(st.just("dir"), st.just("file"), paths.filter(bool))
trees = st.dictionaries(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join), entries)


@settings(max_examples=400, deadline=None)
@given(tree=trees, path=paths)
def test_the_walk_answers_as_the_kernel_does_in_any_tree(tree: dict[str, str], path: str) -> None:
    with TemporaryDirectory() as folder:
        root = make_tree(f"{folder}/deep/root", tree)
        try:
            for flags in (os.O_PATH, os.O_PATH | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY):
                for resolve in (c.RESOLVE_IN_ROOT, c.RESOLVE_BENEATH):
                    call = partial(openat2, root, path, flags, resolve=resolve)
                    by_kernel = outcome(call)
                    with switched_off("openat2"):
                        assert outcome(call) == by_kernel
        finally:
            os.close(root)


def make_tree(top: str, tree: dict[str, str]) -> int:
    """Make directories ("dir"), files ("file") and links (to any other text) where they fit.

    Nothing is made behind a link: it may lead out, to this machine's own root.
    """
    os.makedirs(top)
    real_top = os.path.realpath(top)
    for name, kind in sorted(tree.items(), key=lambda item: len(item[0])):
        parent = os.path.dirname(f"{real_top}/{name}")
        if os.path.realpath(parent) != parent:
            continue
        with suppress(OSError):
            if kind == "dir":
                os.mkdir(f"{top}/{name}")
            elif kind == "file":
                os.close(os.open(f"{top}/{name}", os.O_CREAT | os.O_EXCL))
            else:
                os.symlink(kind, f"{top}/{name}")
    return os.open(top, os.O_PATH)


@both
def test_nothing_outside_is_reached(root: int, tmp_path: Path, off: tuple[str, ...]) -> None:
    outside = {os.stat(tmp_path / name).st_ino for name in ("", "secret", "dir-outside")}
    with switched_off(*off):
        for path in [*PATHS, "../secret", "a/../../secret", "/../secret", "dir-out/.."]:
            kind, value = outcome(lambda path=path: open_in_root(root, path, os.O_PATH))
            assert kind == "error" or value[1] not in outside, path  # type: ignore[index]


@both
def test_new_files_are_made_inside_only(root: int, tmp_path: Path, off: tuple[str, ...]) -> None:
    flags = os.O_WRONLY | os.O_CREAT
    os.mkdir(tmp_path / "root" / "made")
    with switched_off(*off):
        os.close(open_in_root(root, "a/new", flags, mode=0o640))
        assert (tmp_path / "root/a/new").stat().st_mode & 0o777 == 0o640
        os.close(open_in_root(root, "dangling", flags, mode=0o600))
        assert (tmp_path / "root/made/later").exists()
        with pytest.raises(FileExistsError):
            open_in_root(root, "dangling", flags | os.O_EXCL, mode=0o600)
        with pytest.raises(OSError, match="openat2") as caught:
            open_in_root(root, "absolute", flags | os.O_NOFOLLOW, mode=0o600)
        assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "made").exists()


@both
def test_magic_links_are_no_way_out(tmp_path: Path, off: tuple[str, ...]) -> None:
    """A container's own procfs has links to whatever its processes have open."""

    def inside() -> None:
        proc = tmp_path / "root" / "proc"
        proc.mkdir(parents=True)
        (tmp_path / "secret").touch()
        mount("proc", proc, "proc")
        root = os.open(tmp_path / "root", os.O_PATH)  # the fixture's lies in the other mount namespace
        os.close(open_in_root(root, f"proc/{os.getpid()}/status", os.O_PATH))
        fd = os.open(tmp_path / "secret", os.O_RDONLY)
        with switched_off(*off):
            for path in (f"proc/{os.getpid()}/fd/{fd}", f"proc/{os.getpid()}/root/{tmp_path}/secret"):
                with pytest.raises(OSError, match="openat2"):
                    open_in_root(root, path, os.O_PATH)

    run_isolated(inside)


@both
@pytest.mark.usefixtures("root")
def test_other_mounts_are_refused_on_demand(tmp_path: Path, off: tuple[str, ...]) -> None:
    def inside() -> None:
        mount("t", tmp_path / "root" / "a", "tmpfs")
        root = os.open(tmp_path / "root", os.O_PATH)
        with switched_off(*off):
            os.close(open_in_root(root, "a", os.O_PATH))
            for path in ("a", "a/.", "dir-link"):
                with pytest.raises(OSError, match="openat2") as caught:
                    open_in_root(root, path, os.O_PATH, resolve=c.RESOLVE_NO_XDEV)
                assert caught.value.errno == errno.EXDEV

    run_isolated(inside)


@both
def test_descriptors_are_close_on_exec_and_errors_leave_none(root: int, off: tuple[str, ...]) -> None:
    before = list_fds()
    with switched_off(*off):
        fd = openat2(root, "a/b/../b", os.O_PATH, resolve=c.RESOLVE_IN_ROOT)
        assert not os.get_inheritable(fd)
        os.close(fd)
        for path in PATHS:
            outcome(lambda path=path: open_in_root(root, path, os.O_PATH))
            outcome(lambda path=path: open_in_root(root, path, os.O_PATH, resolve=c.RESOLVE_NO_XDEV))
    assert list_fds() == before


@both
def test_nul_in_a_path(root: int, off: tuple[str, ...]) -> None:
    with switched_off(*off), pytest.raises(OSError, match="NUL byte"):
        open_in_root(root, "a\0b", os.O_PATH)


@both
@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("x/y/z", "x/y/z"),
        ("/x/./y//z/", "x/y/z"),
        ("dir-link/new", "a/new"),
        ("../../x", "x"),
        ("dangling/below", "made/later/below"),
        ("dangling-out", "made/later"),
        ("a/b", "a/b"),
        ("a/up/new/../other", "other"),
    ],
)
def test_mkdir(root: int, tmp_path: Path, path: str, made: str, off: tuple[str, ...]) -> None:
    with switched_off(*off):
        fd = mkdir_in_root(root, path)
        assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "root" / made))
        os.close(fd)
        os.close(mkdir_in_root(root, path))  # again: it is there
    assert sorted(os.listdir(tmp_path)) == ["dir-outside", "root", "secret"]
    assert os.listdir(tmp_path / "dir-outside") == []


@both
@pytest.mark.parametrize("path", ["a/file", "a/file/x", "absolute/x", "fifo/x"])
def test_mkdir_where_something_else_is(root: int, path: str, off: tuple[str, ...]) -> None:
    before = list_fds()
    with switched_off(*off), pytest.raises(NotADirectoryError):
        mkdir_in_root(root, path)
    assert list_fds() == before


@both
@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("x/y/file", "x/y/file"),
        ("a/file", "a/file"),
        ("absolute", "a/file"),
        ("up-and-out", "secret"),
        ("dangling", "made/later"),
        ("dangling-out", "made/later"),
        ("dir-out/file", "dir-outside/file"),
        ("fifo", "fifo"),
    ],
)
def test_touch(root: int, tmp_path: Path, path: str, made: str, off: tuple[str, ...]) -> None:
    with switched_off(*off):
        fd = touch_in_root(root, path)
    assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "root" / made))
    os.close(fd)
    assert sorted(os.listdir(tmp_path)) == ["dir-outside", "root", "secret"]
    assert (tmp_path / "secret").read_text() == "outside"
    assert (tmp_path / "root/a/file").read_text() == "inside"


@both
def test_touch_does_not_replace_a_directory(root: int, off: tuple[str, ...]) -> None:
    with switched_off(*off), pytest.raises(IsADirectoryError):
        touch_in_root(root, "a/b")


@both
def test_mkdir_never_leaves_while_a_folder_is_swapped(tmp_path: Path, off: tuple[str, ...]) -> None:
    """CVE-2021-30465, CVE-2024-45310: another container swaps a folder for a link to the outside."""
    top, outside = tmp_path / "root", tmp_path / "outside"
    (top / "real").mkdir(parents=True)
    outside.mkdir()
    os.symlink("../outside", top / "link")
    root = os.open(top, os.O_PATH)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            syscall(
                RENAMEAT2, c.AT_FDCWD, bytes(top / "real"), c.AT_FDCWD, bytes(top / "link"), RENAME_EXCHANGE
            )

    attacker = threading.Thread(target=swap)
    attacker.start()
    made = 0
    try:
        with switched_off(*off):
            for number in range(2000):
                try:
                    os.close(mkdir_in_root(root, f"real/x{number}/y"))
                    made += 1
                except OSError as exc:  # it may fail, it may not escape
                    if exc.errno not in (
                        errno.ENOENT,
                        errno.ELOOP,
                        errno.EEXIST,
                        errno.ENOTDIR,
                        errno.EAGAIN,
                    ):
                        raise
    finally:
        stop.set()
        attacker.join()
        os.close(root)
    assert made > 0
    assert os.listdir(outside) == []


def test_what_was_checked_is_what_is_opened(root: int, tmp_path: Path) -> None:
    handle = open_in_root(root, "a/file", os.O_PATH)
    os.rename(tmp_path / "root/a/file", tmp_path / "root/a/old")
    os.symlink(tmp_path / "secret", tmp_path / "root/a/file")
    fd = reopen(handle, os.O_RDONLY)
    assert os.read(fd, 99) == b"inside"
    os.close(fd)
    os.close(handle)
