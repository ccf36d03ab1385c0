"""Where `cp` extracts, and what entries are called: docker's rules as a table."""

from __future__ import annotations

import pytest

from sampan.cli.copy_paths import Place, Route, keep_end, plan_route, rebase, split_argument, split_entry
from sampan.cli.outcome import Failed


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("web:/etc", ("web", "/etc")),
        ("web:", ("web", "")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("../a:b", ("", "../a:b")),
        ("plain", ("", "plain")),
        ("-", ("", "-")),
    ],
)
def test_split_argument(text: str, want: tuple[str, str]) -> None:
    assert split_argument(text) == want


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("/a/.", ("/a", ".")),
        ("/", ("/", "/")),
        ("a", (".", "a")),
    ],
)
def test_split_entry(path: str, want: tuple[str, str]) -> None:
    assert split_entry(path) == want


def test_the_end_of_a_path_is_kept() -> None:
    assert keep_end("/a/b", "b/") == "/a/b/"
    assert keep_end("/a/b", "b/.") == "/a/b/."
    assert keep_end("/a", ".") == "/a/."
    assert keep_end("/", "/") == "/"


@pytest.mark.parametrize(
    ("path", "target", "want"),
    [
        ("/x/link", "/y/real", ("/y/real", "link")),
        ("/x/same", "/y/same", ("/y/same", "")),
        ("/x/link/", "/y/real", ("/y/real/", "link")),
        ("/x/link/.", "/y/real", ("/y/real/.", "")),
    ],
)
def test_rebase(path: str, target: str, want: tuple[str, str]) -> None:
    assert rebase(path, target) == want


FILE, FOLDER = Place(path="/s/f", exists=True), Place(path="/s/d", exists=True, is_dir=True)


@pytest.mark.parametrize(
    ("source", "target", "want"),
    [
        pytest.param(
            FILE, Place(path="/t", exists=True, is_dir=True), Route(folder="/t"), id="into a directory"
        ),
        pytest.param(FILE, Place(path="/t/n"), Route(folder="/t", old="f", new="n"), id="a new name"),
        pytest.param(
            FILE, Place(path="/t/n", exists=True), Route(folder="/t", old="f", new="n"), id="over a file"
        ),
        pytest.param(FOLDER, Place(path="/t/n/"), Route(folder="/t", old="d", new="n"), id="a new directory"),
        pytest.param(
            Place(path="/", exists=True, is_dir=True),
            Place(path="/t/n"),
            Route(folder="/t", old="", new="n"),
            id="a root",
        ),
    ],
)
def test_plan_route(source: Place, target: Place, want: Route) -> None:
    assert plan_route(source, target) == want


@pytest.mark.parametrize(
    ("source", "target", "match"),
    [
        pytest.param(
            FOLDER, Place(path="/t", exists=True), "cannot copy directory", id="a directory onto a file"
        ),
        pytest.param(
            FILE, Place(path="/t/n/"), "no such directory", id="a file to a directory that is not there"
        ),
    ],
)
def test_refused(source: Place, target: Place, match: str) -> None:
    with pytest.raises(Failed, match=match):
        plan_route(source, target)


def test_names_change_at_their_beginning() -> None:
    assert Route(folder="/t", old="d", new="n").rename(b"d/d/x") == b"n/d/x"
    assert Route(folder="/t", old="", new="n").rename(b"/bin") == b"n/bin"
    assert Route(folder="/t").rename(b"d/x") == b"d/x"
