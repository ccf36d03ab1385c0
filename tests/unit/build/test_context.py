"""Contexts as they are sent: names that come twice, and what `.dockerignore` takes away."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from sampan.build.context import Context
from sampan.errors import InvalidArgument


def read(tmp_path: Path, *entries: tuple[str, bytes | None]) -> Context:
    """Return the context of an archive of files, and of directories (None)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    stream.seek(0)
    return Context.read(stream, str(tmp_path / "spool"))


@pytest.mark.parametrize(
    ("entries", "names", "below"),
    [
        pytest.param([("d", None), ("d/f/g", b"1"), ("d", b"2")], ["d"], [], id="a directory becomes a file"),
        pytest.param([("d", b"1"), ("d/f", b"2")], ["d"], ["f"], id="a file becomes a directory"),
        pytest.param([("d/f", b"1"), ("d", None)], ["d"], ["f"], id="a directory once more"),
    ],
)
def test_names_that_come_twice(
    tmp_path: Path, entries: list[tuple[str, bytes | None]], names: list[str], below: list[str]
) -> None:
    with read(tmp_path, *entries) as context:
        assert (context.names(""), context.names("d")) == (names, below)
        found = context.find("d")
        assert found is not None
        assert found.is_directory == bool(below)
        assert context.find("d/f/g") is None


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="its root is no directory"):
        read(tmp_path, ("f", b"1"), ("./", b"2"))


def test_ignored_directories_go_with_all_below(tmp_path: Path) -> None:
    entries = [
        (".dockerignore", b"d\nDockerfile\n"),
        ("Dockerfile", b"x"),
        ("d", None),
        ("d/e/f", b"1"),
        ("g", b"2"),
    ]
    with read(tmp_path, *entries) as context:
        context.ignore("Dockerfile", everything=True)
        assert context.names("") == [".dockerignore", "g"]
        assert context.find("d/e/f") is None
