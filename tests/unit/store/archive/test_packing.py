"""Writing archives: what is packed unpacks to the same tree, and other readers agree."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from sampan.store.archive.packing import Packer
from sampan.store.archive.placing import Rules, place
from sampan.store.archive.walking import walk
from sampan.store.archive.writer import TarWriter


class Buffer(io.BytesIO):
    """A sink in memory that also copies files."""

    def copy(self, fd: int, size: int) -> None:
        data = os.pread(fd, size, 0)
        self.write(data + bytes(size - len(data)))


def open_path(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_NOFOLLOW)


def pack(path: Path, shown: str) -> bytes:
    sink = Buffer()
    writer = TarWriter(sink)
    fd = open_path(path)
    try:
        Packer(writer).add(fd, shown=shown.encode())
    finally:
        os.close(fd)
    writer.finish()
    return sink.getvalue()


def unpack(archive: bytes, target: Path, rules: Rules | None = None, folder: str = "") -> None:
    stream = io.BytesIO(archive)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        place(lambda: stream.read(4096), fd, folder.encode(), rules or Rules(owner=(-1, -1)))
    finally:
        os.close(fd)


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (
            status.st_mode,
            status.st_nlink if not path.is_dir() else 0,
            status.st_mtime_ns // 10**9,
            content,
        )
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "large").write_bytes(os.urandom(200_000))
    (root / "block").write_bytes(bytes(512))
    (root / ("n" * 120)).write_bytes(b"long name")
    (root / "sub" / ("ü" * 60)).write_bytes(b"not ascii")
    os.link(root / "file", root / "sub" / "linked")
    os.symlink("../file", root / "sub" / "up")
    os.symlink("/" + "x" * 150, root / "sub" / "far")
    os.mkfifo(root / "pipe")
    (root / "file").chmod(0o4755)
    os.utime(root / "sub", (5, 5))
    return root


def test_what_is_packed_unpacks_to_the_same_tree(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    unpack(pack(tree, "tree"), target)
    assert describe(target / "tree") == describe(tree)


def test_other_readers_agree(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(tree, "."))) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
        assert members["sub/linked"].islnk()
        assert members["sub/linked"].linkname == "./file"
        assert members["pipe"].isfifo()
        assert members["sub/far"].linkname == "/" + "x" * 150
        large = archive.extractfile(members["large"])
        assert large is not None
        assert large.read() == (tree / "large").read_bytes()


@pytest.mark.parametrize(
    ("shown", "want"),
    [
        pytest.param("/", ["/", "/a", "/b/", "/b/c"], id="the root keeps its slash"),
        pytest.param(".", ["./", "./a", "./b/", "./b/c"], id="a dot at the end"),
        pytest.param("x", ["x/", "x/a", "x/b/", "x/b/c"], id="another name"),
        pytest.param("", ["a", "b/", "b/c"], id="only the content"),
    ],
)
def test_names_begin_as_the_caller_says(tmp_path: Path, shown: str, want: list[str]) -> None:
    (tmp_path / "top" / "b").mkdir(parents=True)
    (tmp_path / "top" / "a").touch()
    (tmp_path / "top" / "b" / "c").touch()
    archive = pack(tmp_path / "top", shown)
    names = [archive[at : at + 100].rstrip(b"\0").decode() for at in range(0, len(archive) - 1024, 512)]
    assert names == want


def test_numbers_that_do_not_fit_go_into_a_pax_header(tmp_path: Path) -> None:
    sink = Buffer()
    writer = TarWriter(sink)
    writer.header(b"x", b"0", mode=0o644, owner=(3_000_000, 2), mtime=-5, xattrs={b"user.a": b"b\n=\0"})
    writer.finish()
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        (member,) = archive.getmembers()
    assert (member.uid, member.gid, member.mtime) == (3_000_000, 2, -5)
    assert member.pax_headers["SCHILY.xattr.user.a"] == "b\n=\0"


def test_a_file_that_shrinks_is_filled_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    sink = Buffer()
    writer = TarWriter(sink)
    with path.open("rb") as file:
        writer.header(b"file", b"0", mode=0o644, size=100)
        writer.data(file.fileno(), 100)
    writer.finish()
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        file_in = archive.extractfile("file")
        assert file_in is not None
        assert file_in.read() == b"short" + bytes(95)


def test_a_deep_tree_takes_few_descriptors(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    fd = open_path(tmp_path / "d")
    depth, leavings, most = 0, 0, 0
    before = len(os.listdir("/proc/self/fd"))  # other tests of this process have their own
    for found in walk(fd, shown=b"d"):
        most = max(most, len(os.listdir("/proc/self/fd")))
        leavings += found.leaving
        depth = max(depth, found.path.count(b"/"))
    os.close(fd)
    assert (depth, leavings) == (399, 400)
    assert most - before < 100


def make_archive(*members: tuple[str, bytes, str]) -> bytes:
    """Return an archive of (name, type, content or link target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = text
            else:
                info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_directories_are_merged_and_files_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").write_text("kept")
    (tmp_path / "a" / "old").write_text("old")
    unpack(make_archive(("a", tarfile.DIRTYPE, ""), ("a/old", tarfile.REGTYPE, "new")), tmp_path)
    assert (tmp_path / "a" / "kept").read_text() == "kept"
    assert (tmp_path / "a" / "old").read_text() == "new"


def test_the_folder_itself_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    unpack(make_archive((".", tarfile.DIRTYPE, ""), ("./x", tarfile.REGTYPE, "x")), tmp_path, folder="folder")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "x").read_text() == "x"


@pytest.mark.parametrize(
    ("members", "match"),
    [
        pytest.param(
            [("d", tarfile.REGTYPE, "x")], "cannot overwrite directory", id="a file for a directory"
        ),
        pytest.param(
            [("f", tarfile.DIRTYPE, "")], "cannot overwrite non-directory", id="a directory for a file"
        ),
        pytest.param([("../x", tarfile.REGTYPE, "x")], "leads out of the root", id="out of the folder"),
        pytest.param(
            [("l", tarfile.LNKTYPE, "../outside/secret")], "leads out of the root", id="a hard link out of it"
        ),
        pytest.param([("f/x", tarfile.REGTYPE, "x")], "cannot unpack", id="below a file"),
    ],
)
def test_refused(tmp_path: Path, members: list[tuple[str, bytes, str]], match: str) -> None:
    folder = tmp_path / "folder"
    (folder / "d").mkdir(parents=True)
    (folder / "f").write_text("f")
    with pytest.raises(Exception, match=match):
        unpack(make_archive(*members), tmp_path, folder="folder")
    assert (folder / "f").read_text() == "f"
    assert list(tmp_path.iterdir()) == [folder]


def test_without_keep_kinds_anything_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "d" / "x").mkdir(parents=True)
    (tmp_path / "f").write_text("f")
    rules = Rules(keep_kinds=False, owner=(-1, -1))
    unpack(make_archive(("d", tarfile.REGTYPE, "now a file"), ("f", tarfile.DIRTYPE, "")), tmp_path, rules)
    assert (tmp_path / "d").read_text() == "now a file"
    assert (tmp_path / "f").is_dir()


def test_a_link_in_the_way_leads_to_a_place_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, root / "link")
    os.symlink("/real", root / "inner")
    with pytest.raises(Exception, match="cannot unpack"):
        unpack(make_archive(("link/x", tarfile.REGTYPE, "x")), root)
    unpack(make_archive(("inner/x", tarfile.REGTYPE, "x")), root)
    assert list(outside.iterdir()) == []
    assert (root / "real" / "x").read_text() == "x"


def test_names_can_be_changed(tmp_path: Path) -> None:
    rules = Rules(owner=(-1, -1), rename=lambda name: name.replace(b"old", b"new", 1))
    unpack(
        make_archive(("old/a", tarfile.REGTYPE, "a"), ("old/b", tarfile.LNKTYPE, "old/a")), tmp_path, rules
    )
    assert (tmp_path / "new" / "a").stat().st_ino == (tmp_path / "new" / "b").stat().st_ino
