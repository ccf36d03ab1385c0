"""commit: an image of what a container changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.system.engine_kit import Box, wait_until
from tests.system.files_kit import put
from tests.system.store_kit import describe

from sampan.engine.files.committing import CommitRequest
from sampan.errors import InvalidArgument, SampanError
from sampan.spec import docker


@pytest.fixture(scope="module")
def box(shared: Box) -> Box:
    return shared


def commit(box: Box, ref: str, **options: Any) -> str:
    return box.engine.containers.commit(ref, CommitRequest(**options))


def run_to_end(box: Box, *command: str, **more: Any) -> str:
    ref = box.start(*command, **more)
    wait_until(lambda: not box.engine.containers.inspect(ref).State.Running, "the end")
    return ref


def test_the_image_has_what_the_container_changed(box: Box, tmp_path: Path) -> None:
    script = "echo new > /new; rm /etc/passwd; rm -r /home; mkdir /home; ln /new /hard; mkfifo /pipe"
    ref = run_to_end(box, "sh", "-c", script, host={"Binds": [f"{tmp_path}:/bound"]})
    (tmp_path / "secret").write_text("of the host")
    commit(box, ref, repository="made", tag="1")
    look = "cat /new; ls -A /home /bound /etc; stat -c %h /hard; test -p /pipe && echo pipe"
    done = box.run("sh", "-c", look, Image="made:1")
    lines = done.stdout.decode().split()
    assert lines[0] == "new"
    assert "passwd" not in lines
    assert "secret" not in lines
    assert lines[-2:] == ["2", "pipe"]


def test_what_is_recorded(box: Box) -> None:
    ref = run_to_end(box, "sh", "-c", "touch /x", Env=["A=1"], name="source")
    parent = box.engine.containers.inspect(ref).Image
    image_id = commit(box, ref, comment="why", author="who", changes=["ENV B=2", 'CMD ["run"]', "USER 7"])
    found = box.engine.images.inspect(image_id)
    assert (found.Parent, found.Author, found.Comment) == (parent, "who", "why")
    assert found.Config.Cmd == ["run"]
    assert found.Config.User == "7"
    assert {"A=1", "B=2"} <= set(found.Config.Env or ())
    assert len(found.RootFS.Layers) == 2
    newest, *_ = box.engine.images.history(image_id)
    assert (newest.Id, newest.CreatedBy, newest.Comment) == (image_id, "sh -c touch /x", "why")


def test_each_instruction_that_may_change(box: Box) -> None:
    ref = run_to_end(box, "sh", "-c", "touch /x", Env=["A=1"])
    seen: list[docker.Event] = []
    subscription = box.engine.events.subscribe(seen.append, filters={"event": ["tag"]})
    image_id = commit(
        box,
        ref,
        repository="changed",
        changes=[
            'CMD ["a", "b"]\nENTRYPOINT e f',
            'ENV X=$A Y="2 3"',
            "EXPOSE 80 81/udp",
            'LABEL l=1 "m n"=2',
            "USER 5:6",
            "WORKDIR /w",
            "workdir rel",
            "VOLUME /q /r",
            "ONBUILD RUN x",
            "STOPSIGNAL SIGRTMIN+3",
            "HEALTHCHECK --interval=3s --retries=2 CMD true",
        ],
    )
    subscription.cancel()
    found = box.engine.images.inspect(image_id).Config
    assert (found.Cmd, found.Entrypoint) == (["a", "b"], ["/bin/sh", "-c", "e f"])
    assert {"A=1", "Y=2 3"} <= set(found.Env or ())
    assert set(found.ExposedPorts or ()) == {"80/tcp", "81/udp"}
    assert found.Labels == {"l": "1", "m n": "2"}
    assert (found.User, found.WorkingDir, found.StopSignal) == ("5:6", "/w/rel", "SIGRTMIN+3")
    assert {"/q", "/r"} <= set(found.Volumes or ())
    assert found.OnBuild == ["RUN x"]
    assert found.Healthcheck is not None
    assert (found.Healthcheck.Test, found.Healthcheck.Interval) == (["CMD-SHELL", "true"], 3 * 10**9)
    attributes = {"l": "1", "m n": "2", "name": "changed:latest"}
    assert [event.Actor.Attributes for event in seen] == [attributes]


def test_nothing_changed_is_no_layer(box: Box) -> None:
    ref = box.create("true")
    found = box.engine.images.inspect(commit(box, ref))
    assert len(found.RootFS.Layers) == 1
    assert box.engine.images.history(found.Id)[0].Size == 0


def test_the_layer_is_the_archive_unpacked(box: Box, tmp_path: Path) -> None:
    """What is mounted and what is saved are the same tree."""
    ref = run_to_end(
        box, "sh", "-c", "mkdir -p /d/e; echo a > /d/e/f; rm /bin/vi; rm -r /etc/opt; touch /.wh.x"
    )
    image_id = commit(box, ref)
    blobs = box.folder / "data" / "images" / "blobs" / "sha256"
    diff_id = box.engine.images.inspect(image_id).RootFS.Layers[-1]
    names = subprocess.run(
        ["tar", "tf", blobs / diff_id.removeprefix("sha256:")], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"d/e/f", "bin/.wh.vi"} <= set(names)
    assert ".wh.x" not in names  # it would mean something else
    child = box.create("true", Image=image_id)
    lower = box.engine._core.store.snapshots.get(child).lower  # type: ignore[arg-type]  # an id as text
    layer = os.path.realpath(lower[-2])
    assert describe(Path(layer) / "d")["e/f"]


def test_a_running_container_is_frozen_meanwhile(box: Box) -> None:
    events: list[docker.Event] = []
    ref = box.start("sleep", "1000")
    subscription = box.engine.events.subscribe(events.append)
    commit(box, ref, repository="frozen")
    commit(box, ref, pause=False)
    subscription.cancel()
    assert [event.Action for event in events] == ["pause", "unpause", "commit", "tag", "commit"]
    assert events[2].Actor.Attributes["imageRef"] == "frozen:latest"
    assert box.engine.containers.inspect(ref).State.Status == "running"
    box.engine.containers.pause(ref)
    commit(box, ref)
    assert box.engine.containers.inspect(ref).State.Paused
    box.engine.containers.remove(ref, force=True)


def test_a_container_that_a_killed_sampand_froze_goes_on(box: Box) -> None:
    ref = box.start("sleep", "1000")
    box.engine.containers.pause(ref)
    Path(box.engine._core.paths.bundle(ref), "frozen-by-commit").touch()
    box.reopen()
    assert box.engine.containers.inspect(ref).State.Status == "running"
    assert box.exec(ref, "echo", "alive").stdout == b"alive\n"
    assert not Path(box.engine._core.paths.bundle(ref), "frozen-by-commit").exists()
    box.engine.containers.remove(ref, force=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        pytest.param({"changes": ["RUN x"]}, "RUN is not a valid change command", id="a change"),
        pytest.param({"changes": ["STOPSIGNAL NOPE"]}, "invalid signal: NOPE", id="a signal"),
        pytest.param({"repository": "UPPER"}, "lowercase", id="a name"),
        pytest.param({"repository": "sha256", "tag": "abc"}, "ambiguous", id="a name that reads as an id"),
    ],
)
def test_refused(box: Box, options: dict[str, Any], match: str) -> None:
    ref = box.start("sleep", "1000")
    with pytest.raises(InvalidArgument, match=match):
        commit(box, ref, **options)
    assert box.engine.containers.inspect(ref).State.Status == "running"
    box.engine.containers.remove(ref, force=True)


def test_a_full_disk_leaves_nothing_behind(box: Box, tmp_path: Path) -> None:
    """The data root lies on a small tmpfs: the second copy of 6 MiB does not fit."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", folder], check=True)
    small = Box(folder)
    try:
        small.load_busybox()
        ref = small.start("sleep", "1000")
        put(small, ref, "/tmp", {"big": "x" * (6 << 20)})
        before = sorted(os.listdir(folder / "data" / "images" / "blobs" / "sha256"))
        with pytest.raises(SampanError, match="no space left on device"):
            commit(small, ref)
        assert sorted(os.listdir(folder / "data" / "images" / "blobs" / "sha256")) == before
        assert os.listdir(folder / "data" / "tmp") == []
        assert small.engine.containers.inspect(ref).State.Status == "running"
        with pytest.raises(SampanError, match="no space left on device"):
            put(small, ref, "/tmp", {"small": "y", "huge": "x" * (30 << 20)})
        names = small.exec(ref, "ls", "/tmp").stdout.split()
        assert sorted(names) == [b"big", b"small"]
        small.engine.containers.remove(ref, force=True)
        assert small.engine.settle()
    finally:
        small.close()
        subprocess.run(["umount", folder], check=True)
