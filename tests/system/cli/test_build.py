"""`sampan build`: what is sent, what is shown, how it ends."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

SAMPAN = str(Path(__import__("sys").executable).parent / "sampan")


def build(sampand: Sampand, *arguments: str, stdin: bytes = b"") -> Result:
    return sampand._run([SAMPAN, "build", *arguments], stdin=stdin, timeout_s=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /d\nRUN ls /d\n")
    (tmp_path / ".dockerignore").write_text("*.o\nsub\n!sub/kept\nDockerfile\n")
    (tmp_path / "sub").mkdir()
    for name in ("a.c", "a.o", "sub/gone", "sub/kept"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a.c")
    return tmp_path


def test_ignored_files_are_not_sent(sampand: Sampand, folder: Path) -> None:
    done = build(sampand, "-t", "cli-build:1", str(folder))
    assert done.code == 0, done.err
    assert "a.c\nlink\nsub\n" in done.text
    assert done.text.endswith("Successfully tagged cli-build:1")


def test_quiet_and_iidfile(sampand: Sampand, folder: Path, tmp_path: Path) -> None:
    done = build(sampand, "-q", "--iidfile", str(tmp_path / "id"), str(folder))
    assert done.text.startswith("sha256:")
    assert (tmp_path / "id").read_text() == done.text


def test_json(sampand: Sampand, folder: Path) -> None:
    lines = [json.loads(line) for line in build(sampand, "--progress", "json", str(folder)).text.splitlines()]
    assert [line for line in lines if "aux" in line]


def test_rawjson_has_the_shape_of_buildkit(sampand: Sampand) -> None:
    done = build(sampand, "--progress", "rawjson", "-", stdin=b"FROM busybox\nRUN echo said\nRUN exit 7\n")
    assert done.code == 7
    told = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    vertexes = [one for each in told for one in each.get("vertexes", [])]
    assert [one["name"] for one in vertexes[:3]] == [
        "[1/3] FROM busybox", "[2/3] RUN echo said", "[3/3] RUN exit 7",
    ]  # fmt: skip
    assert vertexes[1]["inputs"] == [vertexes[0]["digest"]]
    ended = [one for one in vertexes if "completed" in one]
    assert [bool(one.get("error")) for one in ended] == [False, False, True]
    logs = [one for each in told for one in each.get("logs", [])]
    assert [(one["vertex"], base64.b64decode(one["data"])) for one in logs] == [
        (vertexes[1]["digest"], b"said\n")
    ]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param("tty", "--progress 'tty': the output is no terminal", id="no terminal"),
        pytest.param("fancy", "--progress 'fancy': auto, tty, plain, json, rawjson or quiet", id="unknown"),
    ],
)
def test_progress_that_cannot_be_shown(sampand: Sampand, folder: Path, value: str, says: str) -> None:
    done = build(sampand, "--progress", value, str(folder))
    assert (done.code, done.out) == (125, b"")
    assert says in done.err


def test_progress_quiet_is_quiet(sampand: Sampand, folder: Path) -> None:
    done = build(sampand, "--progress", "quiet", str(folder))
    assert (done.code, done.text[:7], len(done.text)) == (0, "sha256:", 71)


def test_a_command_that_fails_gives_its_code(sampand: Sampand) -> None:
    done = build(sampand, "-", stdin=b"FROM busybox\nRUN exit 7\n")
    assert done.code == 7
    assert "returned a non-zero code: 7" in done.err


def test_dockerfile_elsewhere(
    sampand: Sampand, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other") / "My.Dockerfile"
    other.write_text("FROM busybox\nARG x\nCOPY a.c /\nLABEL v=$x\n")
    done = build(sampand, "-q", "-f", str(other), "--build-arg", "x=1", "--label", "w=2", str(folder))
    assert done.code == 0, done.err
    labels = sampand.docker("inspect", "-f", "{{json .Config.Labels}}", done.text).text
    assert json.loads(labels) == {"v": "1", "w": "2"}


def test_errors_show_the_line(sampand: Sampand) -> None:
    done = build(sampand, "-", stdin=b"FROM busybox\nRUNN x\n")
    assert done.code == 1
    assert "unknown instruction: RUNN (did you mean RUN?)" in done.err
    assert "   2 | >>> RUNN x" in done.err


def test_misses_are_explained(sampand: Sampand, folder: Path) -> None:
    build(sampand, str(folder))
    (folder / "a.c").write_text("changed")
    done = build(sampand, "--explain-cache", str(folder))
    assert " ---> Not cached: the files changed\n" in done.out.decode()


def test_no_folder(sampand: Sampand) -> None:
    done = build(sampand, "/nowhere-at-all")
    assert (done.code, "is no directory" in done.err) == (1, True)
