"""A COPY of which little has changed: what an earlier layer has is linked into the new one, byte for byte."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.system.buildkit_kit import build as buildx_build
from tests.system.buildkit_kit import needs_buildx
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]
OLD = 1_600_000_000
LATEST = "SOURCE_DATE_EPOCH=1700000000"  # so that directories have the same times whenever they are made
SIZE = 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A context of large files; all that is built of it has the same times."""
    where = tmp_path / "context"
    (where / "deep/er").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "deep/c", "deep/er/d", "deep/er/\xe4")):
        write(where / name, bytes([number]) * SIZE)
    write(where / "small", b"small")
    os.link(where / "b", where / "linked")
    (where / "link").symlink_to("deep")
    write(where / "Dockerfile", b"FROM busybox\nCOPY --exclude=Dockerfile . /d/\n")
    return where


def write(path: Path, content: bytes, *, age: int = OLD) -> None:
    path.write_bytes(content)
    os.utime(path, (age, age))


@pytest.fixture(autouse=True)
def _no_cache_is_left(sampand: Sampand) -> Iterator[None]:
    yield
    for name in ("one", "two", "three"):
        sampand.sampan("rmi", "-f", name)
    sampand.call("POST", "/build/prune?all=true")


def build(sampand: Sampand, folder: Path, name: str, *options: str, text: str = "") -> None:
    if text:
        write(folder / "Dockerfile", text.encode())
    done = sampand.sampan("build", f"--build-arg={LATEST}", "-t", name, *options, str(folder))
    assert done.code == 0, done.err


def layers(sampand: Sampand, name: str) -> list[str]:
    found: list[str] = sampand.call("GET", f"/images/{name}/json")["RootFS"]["Layers"]
    return found


def in_layers(sampand: Sampand, path: str) -> set[tuple[int, int]]:
    """Return inode and number of links of a path in every layer that has it."""
    found = [one for one in sampand.data.glob(f"layers/*/diff/{path}") if not one.is_symlink()]
    return {(one.stat().st_ino, one.stat().st_nlink) for one in found}


def check_store(sampand: Sampand) -> None:
    """Every layer is what its archive says, to the byte."""
    done = sampand.sampan("system", "check", "--images")
    assert done.code == 0, done.text + done.err


def test_what_is_unchanged_is_linked_and_the_layer_is_the_same(sampand: Sampand, folder: Path) -> None:
    build(sampand, folder, "one")
    write(folder / "a", b"new" * SIZE)
    build(sampand, folder, "two")
    for path in ("d/deep/c", "d/deep/er/d", "d/deep/er/\xe4"):
        assert [links for _, links in in_layers(sampand, path)] == [2], path
    assert {links for _, links in in_layers(sampand, "d/a")} == {1}
    assert {links for _, links in in_layers(sampand, "d/b")} == {2}  # by its two names, not over layers
    assert len(in_layers(sampand, "d/b")) == 2
    check_store(sampand)
    built = layers(sampand, "two")
    build(sampand, folder, "three", "--no-cache")
    assert layers(sampand, "three") == built


def test_the_older_image_goes_and_the_newer_one_stays_whole(sampand: Sampand, folder: Path) -> None:
    build(sampand, folder, "one")
    write(folder / "a", b"new")
    build(sampand, folder, "two")
    assert sampand.sampan("rmi", "one").code == 0
    sampand.call("POST", "/build/prune?all=true")
    assert {links for _, links in in_layers(sampand, "d/deep/c")} == {1}
    text = "cat /d/deep/c | wc -c; cat /d/a; echo more >> /d/deep/er/d; stat -c '%h %s' /d/deep/er/d"
    done = sampand.sampan("run", "--rm", "two", "sh", "-c", text)
    assert done.out.split() == [b"%d" % SIZE, b"new1", b"%d" % (SIZE + 5)]
    check_store(sampand)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.utime(path, (OLD + 5, OLD + 5)), id="another time"),
        pytest.param(lambda path: os.chmod(path, 0o4751), id="another mode, setuid"),
    ],
)
def test_equal_content_with_other_attributes_is_copied(
    sampand: Sampand, folder: Path, change: Callable[[Path], None]
) -> None:
    build(sampand, folder, "one")
    change(folder / "deep/c")
    write(folder / "a", b"changed, for a time alone makes no step")
    build(sampand, folder, "two")
    assert {links for _, links in in_layers(sampand, "d/deep/c")} == {1}
    assert {links for _, links in in_layers(sampand, "d/deep/er/d")} == {2}
    check_store(sampand)
    built = layers(sampand, "two")
    build(sampand, folder, "three", "--no-cache")
    assert layers(sampand, "three") == built


def test_another_place_owner_and_what_lies_in_the_way(sampand: Sampand, folder: Path) -> None:
    """A link on the way, an existing directory, a file of the base that is replaced, an owner."""
    text = (
        "FROM busybox\nRUN mkdir -p /real/d && echo old > /real/d/a && ln -s real /way\n"
        "COPY --chown=3:4 --exclude=Dockerfile . /way/d/\n"
    )
    build(sampand, folder, "one", text=text)
    write(folder / "small", b"changed")
    build(sampand, folder, "two")
    assert [links for _, links in in_layers(sampand, "real/d/deep/c")] == [2]
    assert SIZE in {path.stat().st_size for path in sampand.data.glob("layers/*/diff/real/d/a")}
    check_store(sampand)
    listed = sampand.sampan("run", "--rm", "two", "stat", "-c", "%u:%g %n", "/way/d/a", "/real/d/deep/c").out
    assert listed == b"3:4 /way/d/a\n3:4 /real/d/deep/c\n"
    built = layers(sampand, "two")
    build(sampand, folder, "three", "--no-cache")
    assert layers(sampand, "three")[2:] == built[2:]


def test_layers_of_one_image_show_no_links_between_files(sampand: Sampand, folder: Path) -> None:
    text = "FROM busybox\nCOPY a b deep/c /d/\nCOPY a b deep/c /e/\nCOPY a b deep/c /d/\n"
    build(sampand, folder, "one", text=text)
    write(folder / "a", b"changed" * SIZE)
    build(sampand, folder, "two")
    command = "stat -c '%i' /d/b /e/b /d/deep/c /d/c /e/c /d/a /e/a 2>/dev/null | sort | uniq -d"
    assert sampand.sampan("run", "--rm", "two", "sh", "-c", command).out == b""
    build(sampand, folder, "three", "--squash")
    assert sampand.sampan("run", "--rm", "three", "sh", "-c", command).out == b""
    check_store(sampand)


def test_somebody_wrote_into_the_earlier_layer(sampand: Sampand, folder: Path) -> None:
    build(sampand, folder, "one")
    (source,) = sampand.data.glob("layers/*/diff/d/deep/c")
    source.write_bytes(b"x" * SIZE)
    write(folder / "a", b"new")
    build(sampand, folder, "two")
    assert sampand.sampan("run", "--rm", "two", "head", "-c1", "/d/deep/c").out == b"\2"


@needs_buildx
def test_by_buildx_what_an_earlier_layer_has_is_not_sent_again(sampand: Sampand, folder: Path) -> None:
    for number in range(20):
        write(folder / f"deep/{number}", b"%d" % number * 500)
    first = buildx_build(sampand, folder, "-t", "one")
    assert first.code == 0, first.err
    write(folder / "small", b"changed")
    second = buildx_build(sampand, folder, "-t", "two")
    assert second.code == 0, second.err
    sent = re.findall(r"transferring context: ([0-9.]+)([kM]?)B", second.err)
    assert sent, second.err
    assert sent == [("7", ""), ("100.00", "k")]  # what has changed, and what has two names
    assert {links for _, links in in_layers(sampand, "d/deep/7")} == {2}
    check_store(sampand)
    third = sampand.sampan("run", "--rm", "two", "sh", "-c", "cat /d/small /d/deep/7 | wc -c").out
    assert third == b"507\n"


def test_by_a_client_that_sends_a_tar(sampand: Sampand, folder: Path) -> None:
    write(folder / "Dockerfile", b"FROM busybox\nCOPY . /d/\n")
    done = sampand.docker("build", "-q", "-t", "one", str(folder))
    assert done.code == 0, done.err
    write(folder / "a", b"new")
    assert sampand.docker("build", "-q", "-t", "two", str(folder)).code == 0
    assert {links for _, links in in_layers(sampand, "d/deep/c")} == {2}
    check_store(sampand)


def test_a_linked_copy(sampand: Sampand, folder: Path) -> None:
    text = "FROM busybox\nCOPY --link --exclude=Dockerfile . /d/\n"
    build(sampand, folder, "one", text=text)
    write(folder / "a", b"new")
    build(sampand, folder, "two")
    # Each by itself and above the base, the newer from the older.
    assert {links for _, links in in_layers(sampand, "d/deep/c")} == {4}
    assert {links for _, links in in_layers(sampand, "d/a")} == {2}
    check_store(sampand)
    built = layers(sampand, "two")
    build(sampand, folder, "three", "--no-cache")
    assert layers(sampand, "three") == built
