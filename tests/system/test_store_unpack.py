"""Unpacking layers: the same trees as GNU tar, whiteouts in overlayfs's form."""

from __future__ import annotations

import io
import os
import random
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.store_kit import describe, differences, entry, gnu_tar, tar, unpack_bytes

from sampan.errors import InvalidArgument
from sampan.kernel.syscall import switched_off
from sampan.store.archive.attributes import OPAQUE_XATTR


@pytest.fixture(autouse=True, params=["with openat2", "without openat2"])
def _kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Before Linux 5.6 (openat2) and 6.6 (fchmodat2), walks by hand must give the same."""
    missing = ["openat2", "fchmodat2"] if request.param == "without openat2" else []
    with switched_off(*missing):
        yield


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LINK, HARD, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


# --- the same trees as GNU tar ---------------------------------------------------------------------------


def random_archive(seed: int, format: int) -> bytes:
    """Return a valid archive: all kinds of entries, replaced names, long names, odd bytes and modes."""
    rng = random.Random(seed)
    members: list[tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]] = [entry("./", DIRECTORY, mode=0o750)]
    folders, files = ["."], []
    for number in range(rng.randint(20, 120)):
        parent = rng.choice(folders)
        ending = rng.choice(["", "ä", " ", ".x", "\udcff"])
        name = f"{parent}/{'n' * rng.choice([1, 5, 90, 200])}{number}{ending}"
        mode = rng.choice([0o644, 0o4755, 0o2755, 0o1777, 0o600, 0o000])
        owner = rng.choice([0, 1000, 65534, 2_000_000])
        common = {"mode": mode, "uid": owner, "gid": owner + 1, "mtime": rng.randint(0, 2_000_000_000)}
        kind = rng.choice("fffffddlhcbp")
        if kind == "f":
            if files and rng.random() < 0.1:
                name = rng.choice(files)  # a second entry of a name replaces the first
            members.append((entry(name, **common), rng.randbytes(rng.choice([0, 1, 511, 512, 513, 70_000]))))
            files.append(name)
        elif kind == "d":
            # GNU tar keeps a setgid bit that a directory inherited, whatever its entry says.
            members.append(entry(name, DIRECTORY, **{**common, "mode": mode & ~0o2000}))
            folders.append(name)
        elif kind == "l":
            members.append(entry(name, LINK, linkname=rng.choice(["/etc/x", "../a", "n" * 150]), **common))
        elif kind == "h" and files:
            members.append(entry(name, HARD, linkname=rng.choice(files), **common))
        elif kind in "cb":
            device = tarfile.CHRTYPE if kind == "c" else tarfile.BLKTYPE
            members.append(
                entry(name, device, devmajor=rng.randint(1, 300), devminor=rng.randint(0, 300), **common)
            )
        elif kind == "p":
            members.append(entry(name, tarfile.FIFOTYPE, **common))
    return tar(*members, format=format)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_random_archives_give_the_tree_of_gnu_tar(tmp_path: Path, seed: int, format: int) -> None:
    archive = random_archive(seed, format)
    unpack_bytes(archive, tmp_path / "ours")
    gnu_tar(archive, tmp_path / "gnu")
    # GNU tar leaves the present time on directories that it comes back to.
    ours, theirs = (describe(tmp_path / name, directory_times=False) for name in ("ours", "gnu"))
    assert not differences(ours, theirs)
    with tarfile.open(fileobj=io.BytesIO(archive)) as reader:
        wanted = {member.name: member.mtime for member in reader if member.isdir()}
    assert {name: os.stat(tmp_path / "ours" / name).st_mtime for name in wanted} == wanted


def test_extended_attributes_capabilities_and_nanoseconds_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    program = source / "program"
    program.write_bytes(b"x")
    os.setxattr(program, "user.note", b"a\0b")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep, version 2
    os.setxattr(program, "security.capability", capability)
    os.utime(program, ns=(0, 1_234_567_890_123_456_789))
    options = ["--format=pax", "--xattrs", "--xattrs-include=*", "--pax-option=delete=atime,delete=ctime"]
    archive = subprocess.run(
        ["tar", *options, "-cf", "-", "-C", source, "."], check=True, capture_output=True
    )
    unpack_bytes(archive.stdout, tmp_path / "ours")
    unpacked = tmp_path / "ours" / "program"
    assert os.getxattr(unpacked, "user.note") == b"a\0b"
    assert os.getxattr(unpacked, "security.capability") == capability
    assert unpacked.stat().st_mtime_ns == 1_234_567_890_123_456_789


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--format=gnu"], id="old GNU form"),
        pytest.param(["--format=pax", "--sparse-version=0.0"], id="pax 0.0"),
        pytest.param(["--format=pax", "--sparse-version=0.1"], id="pax 0.1"),
        pytest.param(["--format=pax", "--sparse-version=1.0"], id="pax 1.0"),
    ],
)
def test_sparse_files_keep_content_and_holes(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "holes", "wb") as file:
        for part in range(60):  # more than fit into one header or one extension block
            file.seek(part * 300_000)
            file.write(bytes([part + 1]) * 5000)
        file.truncate(25_000_000)
    (source / "after").write_bytes(b"behind the sparse file")
    made = subprocess.run(
        ["tar", "-S", *options, "-cf", "-", "-C", source, "holes", "after"], check=True, capture_output=True
    )
    assert len(made.stdout) < 1_000_000, "the archive itself must be sparse, or the test tests nothing"
    unpack_bytes(made.stdout, tmp_path / "ours")
    assert (tmp_path / "ours" / "holes").read_bytes() == (source / "holes").read_bytes()
    assert (tmp_path / "ours" / "after").read_bytes() == b"behind the sparse file"
    assert (tmp_path / "ours" / "holes").stat().st_blocks * 512 < 2_000_000


@pytest.mark.parametrize(
    "command",
    [["cat"], ["gzip", "-1"], ["zstd", "-q"], ["bzip2"], ["xz"]],
    ids=["plain", "gzip", "zstd", "bzip2", "xz"],
)
def test_every_compression_is_recognised(tmp_path: Path, command: list[str]) -> None:
    archive = tar((entry("file"), b"content" * 1000))
    packed = subprocess.run(command, input=archive, check=True, capture_output=True).stdout
    joined = (
        packed
        if command == ["cat"]
        else packed + subprocess.run(command, input=b"\0" * 1024, check=True, capture_output=True).stdout
    )
    unpack_bytes(joined, tmp_path / "ours")
    assert (tmp_path / "ours" / "file").read_bytes() == b"content" * 1000


def test_directory_times_survive_what_is_made_in_them_later(tmp_path: Path) -> None:
    archive = tar(
        entry("a", DIRECTORY, mtime=1000),
        entry("a/b", DIRECTORY, mtime=2000),
        (entry("a/b/file"), b"x"),
        (entry("a/late"), b"x"),
    )
    unpack_bytes(archive, tmp_path / "ours")
    assert (tmp_path / "ours" / "a").stat().st_mtime == 1000
    assert (tmp_path / "ours" / "a" / "b").stat().st_mtime == 2000


# --- whiteouts -------------------------------------------------------------------------------------------


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def test_whiteouts_become_overlayfs_own(tmp_path: Path) -> None:
    archive = tar(
        entry("a", DIRECTORY),
        entry("a/.wh.gone"),
        entry("b", DIRECTORY),
        entry("b/.wh..wh..opq"),
        (entry("b/new"), b"x"),
        entry(".wh..wh.plnk", DIRECTORY),
        entry(".wh..wh.aufs"),
    )
    unpack_bytes(archive, tmp_path / "ours")
    assert is_whiteout(tmp_path / "ours" / "a" / "gone")
    assert is_opaque(tmp_path / "ours" / "b")
    assert not is_opaque(tmp_path / "ours" / "a")
    assert sorted(os.listdir(tmp_path / "ours")) == ["a", "b"]


@pytest.mark.parametrize("whiteout_first", [True, False], ids=["before", "after"])
def test_a_whiteout_never_hides_what_its_own_layer_has(tmp_path: Path, whiteout_first: bool) -> None:
    made = [(entry("file"), b"new"), entry("directory", DIRECTORY), (entry("directory/inside"), b"x")]
    hidden = [entry(".wh.file"), entry(".wh.directory")]
    unpack_bytes(tar(*(hidden + made if whiteout_first else made + hidden)), tmp_path / "ours")
    assert (tmp_path / "ours" / "file").read_bytes() == b"new"
    assert (tmp_path / "ours" / "directory" / "inside").exists()
    assert is_opaque(tmp_path / "ours" / "directory"), "the directory below stays hidden"


def test_a_directory_made_under_a_whiteout_without_an_entry_is_opaque(tmp_path: Path) -> None:
    unpack_bytes(tar(entry(".wh.a"), (entry("a/b"), b"x")), tmp_path / "ours")
    assert is_opaque(tmp_path / "ours" / "a")


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh."])
def test_whiteouts_of_nothing_or_of_the_folder_itself_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="whiteout"):
        unpack_bytes(tar(entry("a", DIRECTORY), entry(name)), tmp_path / "ours")
