"""Hostile archives: nothing outside the root, typed errors, bounded memory. security.md, 29 to 32."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.store_kit import Tree, describe, entry, gnu_tar, tar, unpack_bytes

from sampan.errors import InvalidArgument
from sampan.kernel.syscall import switched_off
from sampan.store.archive.limits import Limits


@pytest.fixture(autouse=True, params=["with openat2", "without openat2"])
def _kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Before Linux 5.6 (openat2) and 6.6 (fchmodat2), walks by hand must give the same."""
    missing = ["openat2", "fchmodat2"] if request.param == "without openat2" else []
    with switched_off(*missing):
        yield


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LINK, HARD, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
SECRET = b"must not change\n"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A tree beside the target that every escape would reach first."""
    outside = tmp_path / "outside"
    (outside / "directory").mkdir(parents=True)
    (outside / "file").write_bytes(SECRET)
    (outside / "directory" / "file").write_bytes(SECRET)
    return outside


def escapes(outside: Path) -> dict[str, bytes]:
    """Return archives that try to reach the canary, by what they try."""
    up = "../" * 3 + str(outside).lstrip("/")
    deep_up = "../" * 30 + str(outside).lstrip("/")
    return {
        "name with dots": tar((entry("../outside/file"), b"evil")),
        "name with dots inside": tar((entry("a/../../outside/file"), b"evil")),
        "absolute name": tar((entry(f"{outside}/file"), b"evil")),
        "absolute symlink then file through it": tar(
            entry("s", LINK, linkname=str(outside)), (entry("s/file"), b"evil")
        ),
        "relative symlink then file": tar(entry("s", LINK, linkname=deep_up), (entry("s/file"), b"evil")),
        "symlink down and out": tar(
            entry("d", DIRECTORY), entry("d/s", LINK, linkname="../" + up), (entry("d/s/file"), b"evil")
        ),
        "symlink to parent, twice": tar(
            entry("x", LINK, linkname=".."),
            entry("x/y", LINK, linkname=".."),
            (entry("x/y/outside/file"), b"evil"),
        ),
        "symlink to the slash dot": tar(
            entry("s", LINK, linkname="/."), (entry(f"s{outside}/file"), b"evil")
        ),
        "symlink replaces a used folder": tar(
            entry("d", DIRECTORY),
            (entry("d/a"), b"x"),
            entry("d", LINK, linkname=str(outside)),
            (entry("d/file"), b"evil"),
        ),
        "symlink replaces an empty folder": tar(
            entry("d", DIRECTORY),
            entry("d", LINK, linkname=str(outside)),
            entry("d/directory", DIRECTORY, mode=0o777),
        ),
        "file over a symlink to a file": tar(
            entry("s", LINK, linkname=f"{outside}/file"), (entry("s"), b"evil")
        ),
        "directory over a symlink to a directory": tar(
            entry("s", LINK, linkname=f"{outside}/directory"),
            entry("s", DIRECTORY, mode=0o777, uid=7),
            (entry("s/file"), b"evil"),
        ),
        "hard link, absolute": tar(entry("h", HARD, linkname=f"{outside}/file"), (entry("h"), b"evil")),
        "hard link, relative": tar(entry("h", HARD, linkname=deep_up + "/file", mode=0o777)),
        "hard link through a symlink": tar(
            entry("s", LINK, linkname=str(outside)), entry("h", HARD, linkname="s/file", mode=0o777, uid=7)
        ),
        "hard link to a symlink, then chmod": tar(
            entry("s", LINK, linkname=f"{outside}/file"),
            entry("h", HARD, linkname="s", mode=0o4777, uid=7),
            (entry("h"), b"evil"),
        ),
        "hard link to the parent": tar(entry("h", HARD, linkname="..")),
        "whiteout through a symlink": tar(entry("s", LINK, linkname=str(outside)), entry("s/.wh.file")),
        "whiteout of a dead symlink's child": tar(
            entry("s", LINK, linkname=f"{outside}/none"), entry("s/.wh.file")
        ),
        "whiteout outside": tar(entry("../outside/.wh.file")),
        "opaque through a symlink": tar(
            entry("s", LINK, linkname=f"{outside}/directory"), entry("s/.wh..wh..opq")
        ),
        "proc magic link": tar(
            entry("s", LINK, linkname="/proc/self/root"), (entry(f"s{outside}/file"), b"evil")
        ),
        "proc descriptor": tar(entry("s", LINK, linkname="/proc/self/cwd"), (entry("s/file"), b"evil")),
        "device through a symlink": tar(
            entry("s", LINK, linkname=str(outside)), entry("s/null", tarfile.CHRTYPE, devmajor=1, devminor=3)
        ),
        "symlink through a symlink": tar(
            entry("s", LINK, linkname=str(outside)), entry("s/file", LINK, linkname="/etc/passwd")
        ),
    }


@pytest.mark.parametrize("what", sorted(escapes(Path("/x"))))
def test_nothing_outside_is_reached(tmp_path: Path, canary: Path, what: str) -> None:
    before = describe(tmp_path)
    try:
        unpack_bytes(escapes(canary)[what], tmp_path / "ours")
    except InvalidArgument:
        pass  # refusing is fine, too
    after = describe(tmp_path)
    assert outside_only(after) == outside_only(before)


def outside_only(tree: Tree) -> Tree:
    return {name: facts for name, facts in tree.items() if not name.startswith("ours") and name != "."}


def test_the_attacks_work_on_a_naive_unpacker(tmp_path: Path, canary: Path) -> None:
    """The canary must be reachable at all: GNU tar with these options falls for this one."""
    archive = escapes(canary)["absolute symlink then file through it"]
    gnu_tar(archive, tmp_path / "gnu", "-P", "--keep-directory-symlink")
    assert (canary / "file").read_bytes() == b"evil"


def test_swapping_symlinks_in_one_archive_never_uses_a_stale_directory(tmp_path: Path) -> None:
    archive = tar(
        entry("one", DIRECTORY),
        entry("two", DIRECTORY),
        entry("s", LINK, linkname="one"),
        entry("s/sub", DIRECTORY),
        (entry("s/sub/first"), b"1"),
        entry("s", LINK, linkname="two"),
        (entry("s/second"), b"2"),
        entry("s", DIRECTORY),
        (entry("s/sub/third"), b"3"),
    )
    unpack_bytes(archive, tmp_path / "ours")
    files = sorted(
        str(path.relative_to(tmp_path / "ours")) for path in (tmp_path / "ours").rglob("*") if path.is_file()
    )
    assert files == ["one/sub/first", "s/sub/third", "two/second"]


def test_overlay_attributes_are_never_taken(tmp_path: Path) -> None:
    info = entry("d", DIRECTORY)
    info.pax_headers = {
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.user.fine": "yes",
    }
    unpack_bytes(tar(info), tmp_path / "ours")
    assert os.listxattr(tmp_path / "ours" / "d") == ["user.fine"]


def test_more_open_directories_than_the_cache_holds(tmp_path: Path) -> None:
    members: list[tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]] = [(entry("first/origin"), b"linked")]
    for number in range(300):
        members.append((entry(f"d{number}/file"), str(number).encode()))
        members.append(entry(f"e{number}/link", HARD, linkname="first/origin"))
    unpack_bytes(tar(*members), tmp_path / "ours")
    assert all((tmp_path / "ours" / f"d{n}" / "file").read_bytes() == str(n).encode() for n in range(300))
    assert (tmp_path / "ours" / "first" / "origin").stat().st_nlink == 301


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        pytest.param(tar((entry("a" * 4096), b"")), "4095 is the most", id="name too long"),
        pytest.param(tar((entry("a/" * 5000 + "b"), b"")), "4095 is the most", id="5,000 deep"),
        pytest.param(tar((entry("b" * 256), b"")), "name too long", id="component too long"),
        pytest.param(tar(entry("h", HARD, linkname="missing")), "No such file", id="hard link to nothing"),
        pytest.param(
            tar(entry("d", DIRECTORY), entry("h", HARD, linkname="d")),
            "hard link",
            id="hard link to a directory",
        ),
        pytest.param(
            tar((entry("f"), b"x"), (entry("f/below"), b"x")), "not a directory", id="file as a directory"
        ),
        pytest.param(
            tar(entry("loop", LINK, linkname="loop"), (entry("loop/x"), b"")),
            "symbolic links",
            id="link to itself",
        ),
        pytest.param(tar((entry("f"), b"x" * 600))[:700], "ends in the middle", id="cut in the data"),
        pytest.param(b"\0" * 512 + tar((entry("f"), b"x")), "single block of zeros", id="one block of zeros"),
        pytest.param(
            b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"junk" * 100, "gzip data is damaged", id="broken gzip"
        ),
        pytest.param(b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "zstd data is damaged", id="broken zstd"),
        pytest.param(b"hello world" * 100, "not a tar archive", id="no archive"),
        pytest.param(tar(entry("./")).replace(b"./", b"./", 1), "no directory", id="root as a file"),
    ],
)
def test_damaged_and_hostile_archives_are_refused(tmp_path: Path, archive: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        unpack_bytes(archive, tmp_path / "ours")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        pytest.param(Limits(entries=5), "more than 5 entries", id="entries"),
        pytest.param(Limits(unnamed_directories=5), "without an entry", id="directories without an entry"),
        pytest.param(Limits(inflated_free_bytes=1000, inflation_ratio=10), "bomb", id="inflation"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, message: str) -> None:
    archive = tar(*[(entry(f"d{number}/file"), bytes(5000)) for number in range(10)])
    packed = subprocess.run(["gzip"], input=archive, check=True, capture_output=True).stdout
    with pytest.raises(InvalidArgument, match=message):
        unpack_bytes(packed, tmp_path / "ours", limits=limits)


BOMBS = {
    "padding behind the end": "archive + bytes(300 << 20)",
    "many pax headers": ("b''.join(pax(b'20 comment=abcdefgh\\n') + member(b'f') for _ in range(50000))"),
    "many directories": "b''.join(member(b'd%d/' % n, b'5') for n in range(100000))",
    "pax headers in a row": "pax(b'20 comment=abcdefgh\\n') * 200000",
}
MEASURE = """
import io, os, resource, sys, tarfile, threading
sys.path[:0] = sys.argv[3:]
from sampan.errors import InvalidArgument
from sampan.store.archive.feed import Feed
from sampan.store.archive.unpack import unpack

fd = os.open(sys.argv[1], os.O_RDONLY)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
class Pipe:
    def read(self, size): return os.read(0, size)
base = peak()
try:
    with Feed(Pipe()) as feed:
        unpack(feed.read_chunk, fd, spool_directory=sys.argv[2]); feed.drain()
    print("unpacked", peak() - base)
except InvalidArgument as exc:
    print("refused", peak() - base)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(BOMBS))
def test_bombs_take_no_memory(tmp_path: Path, what: str) -> None:
    """Less than 64 MiB over what the program has anyway, from a compressed pipe."""
    (tmp_path / "ours").mkdir()
    making = f"""
import gzip, io, sys, tarfile
def member(name, kind=b"0"):
    info = tarfile.TarInfo(name.decode()); info.type = kind
    return info.tobuf(tarfile.USTAR_FORMAT)
def pax(records):
    info = tarfile.TarInfo("x"); info.type = b"x"; info.size = len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\\0")
archive = member(b"f") + bytes(1024)
sys.stdout.buffer.write({BOMBS[what]} + bytes(1024))
"""
    maker = subprocess.Popen([sys.executable, "-c", making], stdout=subprocess.PIPE)
    packer = subprocess.Popen(["gzip", "-1"], stdin=maker.stdout, stdout=subprocess.PIPE)
    arguments = [str(tmp_path / "ours"), str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        stdin=packer.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    for child in (maker, packer):
        assert child.stdout is not None
        child.stdout.close()  # both before any wait: each may be writing to the next
    for child in (packer, maker):
        child.wait()
    assert done.returncode == 0, done.stderr
    grown_kib = int(done.stdout.split()[1])
    assert grown_kib < 64 * 1024, done.stdout


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number, archive in enumerate(
        [tar(entry("a", DIRECTORY), (entry("a/b"), b"x")), tar((entry("f"), b"x"), (entry("f/x"), b""))]
    ):
        try:
            unpack_bytes(archive, tmp_path / f"ours{number}")
        except InvalidArgument:
            pass
    assert len(os.listdir("/proc/self/fd")) == before
