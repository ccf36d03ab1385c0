"""What a failed step has left: kept, looked at, pruned."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

from tests.system.buildkit_kit import build as buildx_build
from tests.system.buildkit_kit import needs_buildx
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

DOCKERFILE = (
    'FROM busybox\nENV a=b\nWORKDIR /w\nARG given\nUSER 7:8\nENTRYPOINT ["false"]\n'
    "RUN --mount=type=secret,id=s,env=HIDDEN echo left > /tmp/left && exit 23\n"
)


def fail(sampand: Sampand, folder: Path, *options: str, stdin: bytes = b"") -> Result:
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "s").write_text("hunter2")
    secret = ("--secret", f"id=s,src={folder}/s")
    return sampand.sampan("build", *secret, "--build-arg=given=c", *options, str(folder), stdin=stdin)


def kept_id(done: Result) -> str:
    assert "sampan builder debug " in done.err
    return done.err.rpartition("sampan builder debug ")[2].split()[0]


def nothing_left(sampand: Sampand) -> None:
    assert sampand.call("GET", "/containers/json?all=1") == []
    dangling = sampand.call("GET", '/images/json?filters={"dangling":["true"]}')
    assert dangling == []


def test_looked_at_twice(sampand: Sampand, tmp_path: Path) -> None:
    done = fail(sampand, tmp_path)
    assert done.code == 23
    step = kept_id(done)
    script = "cat /tmp/left; id -u; pwd; echo $a $given; env; touch /tmp/mine"
    shown = sampand.sampan("builder", "debug", step, "sh", "-c", script)
    assert shown.code == 0, shown.err
    assert shown.text.splitlines()[:4] == ["left", "7", "/w", "b c"]
    assert "hunter2" not in shown.text
    assert "exit 23" in shown.err
    again = sampand.sampan("builder", "debug", step[:6], "ls", "/tmp")
    assert again.text == "left"
    nothing_left(sampand)


def test_a_shell_when_it_fails(sampand: Sampand, tmp_path: Path) -> None:
    done = fail(sampand, tmp_path, "--debug", stdin=b"cat /tmp/left\nexit 4\n")
    assert done.code == 23
    assert done.text.endswith("\nleft")
    nothing_left(sampand)


def test_listed_and_pruned(sampand: Sampand, tmp_path: Path) -> None:
    step = kept_id(fail(sampand, tmp_path))
    assert step in sampand.sampan("builder", "debug").text
    records = sampand.call("GET", "/system/df")["BuildCache"]
    assert any(one["ID"] == step and one["Type"] == "internal" for one in records)
    sampand.sampan("builder", "debug", step, "true")
    sampand.kill()
    sampand.start()
    assert sampand.sampan("builder", "debug", step, "cat", "/tmp/left").text == "left"
    sampand.call("POST", "/build/prune")
    assert list((sampand.data / "build-failed").iterdir()) == []
    gone = sampand.sampan("builder", "debug", step)
    assert gone.code == 1
    assert f"no failed step '{step}' is kept" in gone.err


def test_the_last_few_only(sampand: Sampand, tmp_path: Path) -> None:
    for _ in range(9):
        fail(sampand, tmp_path, "-q")
    assert len(list((sampand.data / "build-failed").iterdir())) == 8
    sampand.call("POST", "/build/prune")


def test_layers_below_that_are_gone(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo below > /below\nRUN exit 1\n")
    step = kept_id(sampand.sampan("build", str(tmp_path)))
    filters = urllib.parse.quote(json.dumps({"type": ["regular"]}))
    sampand.call("POST", f"/build/prune?all=1&filters={filters}")
    gone = sampand.sampan("builder", "debug", step)
    assert "were removed: build again" in gone.err
    sampand.call("POST", "/build/prune")


def test_ids_that_are_none(sampand: Sampand) -> None:
    for step in ("..", "../../images", "x", "%2e%2e"):
        done = sampand.sampan("builder", "debug", step)
        assert done.code == 1
        assert "is kept" in done.err


@needs_buildx
def test_buildx_says_so_too(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo left > /left && exit 3\n")
    step = kept_id(buildx_build(sampand, tmp_path))
    assert sampand.sampan("builder", "debug", step, "cat", "/left").text == "left"
    sampand.call("POST", "/build/prune")
