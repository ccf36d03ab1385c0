"""Seeds of trouble: what people trip over in Dockerfiles, each by its name (docs/build.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> str:
    """Build `seed`, and return what is said."""
    (folder / "Dockerfile").write_text(text)
    done = sampand.sampan("build", "-t", "seed", *options, str(folder))
    assert done.code == 0, done.err
    return done.text


def run(sampand: Sampand, *command: str) -> str:
    done = sampand.docker("run", "--rm", "seed", *command)
    assert done.code == 0, done.err
    return done.text


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        pytest.param(
            "FROM busybox\nRUN echo installs > /i\nCOPY app /app\n", 1, id="what changes comes last"
        ),
        pytest.param(
            "FROM busybox\nCOPY app /app\nRUN echo installs > /i\n", 0, id="what changes comes first"
        ),
        pytest.param("FROM busybox\nRUN echo installs > /i\nCOPY . /app\n", 1, id="a whole context last"),
    ],
)
def test_order_of_instructions_and_cache(sampand: Sampand, tmp_path: Path, text: str, hits: int) -> None:
    unique = text.replace("installs", f"installs {tmp_path.name}")
    (tmp_path / "app").write_text("1")
    build(sampand, tmp_path, unique)
    assert build(sampand, tmp_path, unique).count("Using cache") == 2
    (tmp_path / "app").write_text("2")
    assert build(sampand, tmp_path, unique).count("Using cache") == hits


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param('ENTRYPOINT ["/bin/e"]\nCMD ["c", "d"]', ["/bin/e", "c", "d"], id="exec, exec"),
        pytest.param('ENTRYPOINT ["/bin/e"]\nCMD c d', ["/bin/e", "/bin/sh", "-c", "c d"], id="exec, shell"),
        pytest.param('ENTRYPOINT e f\nCMD ["c"]', ["/bin/sh", "-c", "e f", "c"], id="shell, exec"),
        pytest.param(
            "ENTRYPOINT e f\nCMD c d", ["/bin/sh", "-c", "e f", "/bin/sh", "-c", "c d"], id="shell, shell"
        ),
    ],
)
def test_entrypoint_and_cmd(sampand: Sampand, tmp_path: Path, text: str, want: list[str]) -> None:
    build(sampand, tmp_path, f"FROM busybox\n{text}\n")
    container = sampand.call("POST", "/containers/create", {"Image": "seed"})["Id"]
    found = sampand.call("GET", f"/containers/{container}/json")
    sampand.call("DELETE", f"/containers/{container}")
    assert [found["Path"], *found["Args"]] == want


def test_arguments_of_run_take_the_place_of_cmd_only(sampand: Sampand, tmp_path: Path) -> None:
    build(sampand, tmp_path, 'FROM busybox\nENTRYPOINT ["echo", "e"]\nCMD ["c"]\n')
    assert (run(sampand), run(sampand, "x")) == ("e c", "e x")


@pytest.mark.parametrize(
    ("instruction", "want"),
    [
        pytest.param("COPY src /dst", "/dst", id="a file, no slash: the file's new name"),
        pytest.param("COPY src /dst/", "/dst\n/dst/src", id="a file, a slash: into the directory"),
        pytest.param("COPY dir /dst", "/dst\n/dst/one", id="a directory: its content, no slash"),
        pytest.param("COPY dir /dst/", "/dst\n/dst/one", id="a directory: its content, with a slash"),
        pytest.param("COPY dir src /dst/", "/dst\n/dst/one\n/dst/src", id="several: a slash is needed"),
    ],
)
def test_copy_with_and_without_a_slash(sampand: Sampand, tmp_path: Path, instruction: str, want: str) -> None:
    (tmp_path / "src").write_text("x")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "one").write_text("1")
    build(sampand, tmp_path, f"FROM busybox\n{instruction}\n")
    assert run(sampand, "sh", "-c", "find /dst | sort") == want


def test_several_sources_without_a_slash(sampand: Sampand, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY a b /dst\n")
    done = sampand.sampan("build", str(tmp_path))
    assert done.code == 1
    assert "must be a directory and end with a /" in done.err
    assert "COPY a b /dst" in done.err


def test_volume_then_run(sampand: Sampand, tmp_path: Path) -> None:
    """VOLUME makes no directory; what RUN writes below one stays, and a container's volume begins with it."""
    build(sampand, tmp_path, "FROM busybox\nVOLUME /data\nRUN mkdir /data && echo kept > /data/f\n")
    assert run(sampand, "cat", "/data/f") == "kept"


def test_user_then_workdir(sampand: Sampand, tmp_path: Path) -> None:
    """A directory that WORKDIR makes is the user's, and so is what it lies in, if that is new."""
    text = (
        "FROM busybox\nUSER 12:34\nWORKDIR /made/deep\nRUN id -u > mine\nWORKDIR /tmp/below\nWORKDIR /etc\n"
        "USER 0\nRUN stat -c %u:%g /made /made/deep /tmp/below /tmp /etc > /owners\n"
    )
    build(sampand, tmp_path, text)
    found = run(sampand, "cat", "/made/deep/mine", "/owners").split()
    assert found == ["12", "12:34", "12:34", "12:34", "0:0", "0:0"]


def test_workdir_of_a_user_who_is_not_there(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nUSER nobodyhere\nWORKDIR /made\n")
    done = sampand.sampan("build", str(tmp_path))
    assert done.code == 1
    assert "no such user: nobodyhere" in done.err
    assert "WORKDIR /made" in done.err


def test_arg_before_from(sampand: Sampand, tmp_path: Path) -> None:
    """It is for FROM alone; a stage has it after an `ARG` of the same name, with the same value."""
    text = (
        'ARG base=busybox\nFROM $base AS a\nRUN echo "[$base]" > /f\n'
        'FROM $base\nARG base\nCOPY --from=a /f /f\nRUN echo "[$base]" >> /f\n'
    )
    build(sampand, tmp_path, text)
    assert run(sampand, "cat", "/f") == "[]\n[busybox]"


def test_onbuild(sampand: Sampand, tmp_path: Path) -> None:
    """It does nothing where it stands, runs once in what begins with the image, and is gone then."""
    text = (
        "FROM busybox AS a\nONBUILD RUN echo triggered >> /f\nRUN test ! -e /f\n"
        "FROM a AS b\nFROM b\nRUN cat /f > /g\n"
    )
    build(sampand, tmp_path, text)
    assert run(sampand, "cat", "/g") == "triggered"
    assert json.loads(sampand.docker("inspect", "-f", "{{json .Config.OnBuild}}", "seed").text) in (None, [])


def test_onbuild_copies_from_a_stage_that_nothing_else_needs(sampand: Sampand, tmp_path: Path) -> None:
    """`--from` in a trigger means a stage of the Dockerfile at hand, and that one's own base."""
    build(sampand, tmp_path, "FROM busybox\nONBUILD COPY --from=tool /t /got\n")
    sampand.docker("tag", "seed", "seed-onbuild")
    text = "FROM busybox AS below\nRUN echo made > /t\nFROM below AS tool\nFROM busybox AS other\nRUN false\n"
    build(sampand, tmp_path, f"{text}FROM seed-onbuild\nRUN cat /got\n")
    assert run(sampand, "cat", "/got") == "made"
    own = "FROM busybox AS own\nONBUILD COPY --from=tool /t /own\nFROM own\nRUN true\n"
    build(sampand, tmp_path, f"{text}{own}")
    assert run(sampand, "cat", "/own") == "made"


def test_mount_points_leave_nothing_in_the_layer(sampand: Sampand, tmp_path: Path) -> None:
    """Below a link of the base, too, and not where the base has the place already."""
    (tmp_path / "f").write_text("x")
    text = (
        "FROM busybox\nRUN mkdir -p /run /here && ln -s ../run /var/run && ln -s /var/run/deep /far\n"
        "RUN --mount=type=tmpfs,target=/var/run/x --mount=type=bind,source=f,target=/far/a/y "
        "--mount=type=cache,target=/here --mount=type=secret,id=none,target=/new/s "
        "echo kept > /var/run/kept\n"
    )
    build(sampand, tmp_path, text)
    shown = run(sampand, "sh", "-c", "find /run /here /new; readlink /var/run")
    assert shown.split() == ["/run", "/run/kept", "/here", "../run"]


def test_a_frontend_that_is_not_dockers_is_named(sampand: Sampand, tmp_path: Path) -> None:
    for name in ("dockerfile:1", "dockerfile:1.7-labs", "dockerfile-upstream:master", "dockerfile"):
        assert "frontend" not in build(sampand, tmp_path, f"# syntax=docker/{name}\nFROM busybox\nRUN true\n")
    text = "FROM busybox\nRUN true\n"
    said = "[Warning] the frontend x/y:2 is not run"
    assert said in build(sampand, tmp_path, f"# syntax=x/y:2\n{text}")
    assert said in build(sampand, tmp_path, text, "--build-arg", "BUILDKIT_SYNTAX=x/y:2")


@pytest.mark.parametrize(
    ("ignore", "want"),
    [
        pytest.param("*\n!kept\n", ["kept"], id="all but one"),
        pytest.param("!kept\n*\n", [], id="the last line that matches decides"),
        pytest.param("dir\n!dir/one\n", ["dir/one", "kept"], id="back from a directory that is out"),
        pytest.param("**/one\n!dir/sub/one\n", ["dir/sub/one", "dir/two", "kept"], id="at any depth"),
    ],
)
def test_dockerignore_with_exceptions(sampand: Sampand, tmp_path: Path, ignore: str, want: list[str]) -> None:
    for name in ("kept", "dir/one", "dir/two", "dir/sub/one"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text(f"{ignore}Dockerfile\n.dockerignore\n")
    build(sampand, tmp_path, "FROM busybox\nWORKDIR /d\nCOPY . .\n")
    assert run(sampand, "sh", "-c", "cd /d; find . -type f | sort | cut -c3-").split() == want
