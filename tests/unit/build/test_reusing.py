"""What becomes of files that an earlier layer has, by the files of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sampan.build.context import Documents
from sampan.build.reusing import EarlierLayer, LayerFiles
from sampan.build.trees import Item, make_entry
from sampan.store.archive import headers

SIZE = 70_000
NAME, PATH = b"d/\xff", b"real/\xff"
TREE = Documents({})


@pytest.fixture(params=["one file system", "two file systems"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "one file system":
        yield make(tmp_path / "earlier", b"x" * SIZE)
        return
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system here")
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield make(Path(folder) / "earlier", b"x" * SIZE)


def make(folder: Path, content: bytes) -> Path:
    (folder / "real").mkdir(parents=True)
    path = folder / os.fsdecode(PATH)
    path.write_bytes(content)
    if not content:
        os.truncate(path, SIZE)
    for one in (path, path.parent):
        os.utime(one, (1_600_000_000, 1_600_000_000))
    return folder


def item(*, digest: str = "of x") -> Item:
    made = Item(os.fsdecode(NAME), make_entry(headers.REGULAR, os.fsdecode(NAME)), digest)
    made.entry.size = SIZE
    return made


def record_of(folder: Path) -> bytes:
    files = LayerFiles()
    files.add(PATH, NAME, item())
    return files.finish(str(folder))


def test_found_again(earlier: Path, tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", b"")
    files = LayerFiles([EarlierLayer(str(earlier), record_of(earlier))])
    assert files.find(NAME, TREE, item())
    files.add(PATH, NAME, item())
    record = files.finish(str(upper))
    path = upper / os.fsdecode(PATH)
    assert path.read_bytes() == b"x" * SIZE
    is_link = (earlier / os.fsdecode(PATH)).stat().st_nlink == 2
    assert is_link == (earlier.stat().st_dev == upper.stat().st_dev)
    assert path.stat().st_mtime == path.parent.stat().st_mtime == 1_600_000_000
    assert os.listdir(upper / "real") == [os.fsdecode(b"\xff")]
    assert record == record_of(earlier)


@pytest.mark.parametrize("is_new", [False, True])
def test_another_file_at_that_name_is_not_taken(tmp_path: Path, *, is_new: bool) -> None:
    earlier = make(tmp_path / "earlier", b"x" * SIZE)
    record = record_of(earlier)
    if is_new:
        os.utime(earlier / os.fsdecode(PATH))
    files = LayerFiles([EarlierLayer(str(earlier), record)])
    assert not files.find(NAME, TREE, item(digest="of x" if is_new else "of y"))


def test_what_was_replaced_is_forgotten(tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", b"y" * SIZE)
    files = LayerFiles()
    files.add(PATH, NAME, item())
    files.drop(PATH)
    assert files.finish(str(upper)) == b""


def test_a_record_of_another_version_is_nothing(tmp_path: Path) -> None:
    earlier = make(tmp_path / "earlier", b"x" * SIZE)
    assert not LayerFiles([EarlierLayer(str(earlier), b"\xc1 what is it")]).find(NAME, TREE, item())


def test_of_two_layers_the_one_with_the_same_times(tmp_path: Path) -> None:
    layers = [make(tmp_path / name, b"x" * SIZE) for name in ("latest", "before")]
    os.utime(layers[0] / os.fsdecode(PATH), (1_600_000_001, 1_600_000_001))
    upper = make(tmp_path / "upper", b"")
    files = LayerFiles([EarlierLayer(str(layer), record_of(layer)) for layer in layers])
    wanted = item()
    wanted.entry.mtime_ns = 1_600_000_000 * 10**9
    assert files.find(NAME, TREE, wanted)
    files.add(PATH, NAME, wanted)
    files.finish(str(upper))
    assert [(layer / os.fsdecode(PATH)).stat().st_nlink for layer in layers] == [1, 2]
