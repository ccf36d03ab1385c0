"""`SOURCE_DATE_EPOCH` and `--squash`: what a finished image is like."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.system.sampand import Result, Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]
EPOCH = 1_600_000_000


def build(sampand: Sampand, folder: Path, text: str, *options: str) -> Result:
    (folder / "Dockerfile").write_text(text)
    return sampand.sampan("build", "-q", *options, str(folder))


def image(sampand: Sampand, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sampand.docker("inspect", name).out)[0]
    return found


TEXT = (
    "FROM scratch AS base\nCOPY --from=busybox / /\n"
    "FROM base\nLABEL a=b\nCOPY f /d/f\nRUN mkdir /new && touch -d @5 /new/old && ln -s x /new/l\n"
    "RUN date > /dev/null\nWORKDIR /w\n"
)


def test_two_builds_are_one_image(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    options = ("--no-cache", f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}")
    first = build(sampand, tmp_path, TEXT, *options)
    assert first.code == 0, first.err
    (tmp_path / "f").touch()
    assert build(sampand, tmp_path, TEXT, *options).text == first.text
    sampand.environment["SOURCE_DATE_EPOCH"] = str(EPOCH)
    assert build(sampand, tmp_path, TEXT).text == first.text  # by the environment, too
    del sampand.environment["SOURCE_DATE_EPOCH"]
    found = image(sampand, first.text)
    assert found["Created"].startswith("2020-09-13T12:26:40")
    history = json.loads(
        sampand.sampan("history", "--format=json", "--no-trunc", first.text).out.splitlines()[0]
    )
    assert "2020-09-13" in history["CreatedAt"]
    exported = sampand.sampan(
        "build", "-q", f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}", "-o", "-", str(tmp_path)
    )
    with tarfile.open(fileobj=io.BytesIO(exported.out)) as archive:
        times = {member.name: member.mtime for member in archive if member.name.startswith(("d", "new", "w"))}
    assert times["new/old"] == 5
    assert {times[name] for name in ("d", "d/f", "new", "new/l", "w")} == {EPOCH}


class InTwoDays(Sampand):
    """A daemon whose clock is two days ahead; what it runs has the machine's."""

    def command(self) -> list[str]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")  # ./test installs it
        return ["env", f"LD_PRELOAD={library}", "FAKETIME=+2d"]


def test_two_builds_on_two_days_are_one_image(sampand: Sampand, tmp_path: Path) -> None:
    """The other one is built elsewhere, by a daemon that has no cache and shows that its day is another."""
    text = TEXT.replace(
        "RUN date > /dev/null", "RUN --mount=type=secret,id=day touch -d @$(cat /run/secrets/day) /new"
    )
    ids, days = [], []
    later = InTwoDays(tmp_path)
    later.start()
    try:
        later.load_busybox()
        for number, daemon in enumerate((sampand, later), 1):
            day = EPOCH + number * 86_400
            (tmp_path / "day").write_text(str(day))
            (tmp_path / "f").write_text("x")
            os.utime(tmp_path / "f", (day, day))
            options = ("--no-cache", f"--secret=id=day,src={tmp_path}/day")
            done = build(daemon, tmp_path, text, *options, f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}")
            ids.append(done.text or done.err)
            days.append(image(daemon, build(daemon, tmp_path, text, *options).text)["Created"][:10])
    finally:
        later.close()
    assert ids[0] == ids[1]
    assert days[0] < days[1]


def test_without_it_they_are_two(sampand: Sampand, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    ids = {build(sampand, tmp_path, TEXT, "--no-cache").text for _ in range(2)}
    assert len(ids) == 2


def test_epoch_that_is_none(sampand: Sampand, tmp_path: Path) -> None:
    done = build(sampand, tmp_path, "FROM busybox\n", "--build-arg=SOURCE_DATE_EPOCH=yesterday")
    assert done.code == 1
    assert "invalid SOURCE_DATE_EPOCH 'yesterday'" in done.err


SQUASHED = (
    "FROM busybox\n"
    "RUN mkdir /a && echo 1 > /a/one && echo 2 > /a/two && ln /a/one /a/hard && rm /etc/plain\n"
    "RUN rm /a/two && echo 3 > /a/three && chmod 700 /a && rm -r /home && mkdir /home && touch /home/new\n"
    "RUN rm -r /a && mkdir /a && echo 4 > /a/four; echo again > /etc/plain; rm -r /usr; ln -s bin /usr\n"
    "ENV x=y\n"
)
LIST = (
    "find / -xdev | sort | while read f; do stat -c '%n %a %u %F' \"$f\"; done; cat /a/* /etc/plain; ls -i /a"
)


@pytest.mark.parametrize("text", [SQUASHED, SQUASHED.replace("rm -r /a &&", "rm -r /a;")])
def test_squash(sampand: Sampand, tmp_path: Path, text: str) -> None:
    plain = build(sampand, tmp_path, text)
    squashed = build(sampand, tmp_path, text, "--squash")
    assert squashed.code == 0, squashed.err
    layers = [image(sampand, one.text)["RootFS"]["Layers"] for one in (plain, squashed)]
    assert len(layers[0]) == len(layers[1]) + 2 == 4
    assert layers[0][0] == layers[1][0]
    listings = [
        sampand.docker("run", "--rm", "--hostname=x", one.text, "sh", "-c", LIST.replace("ls -i", "ls")).text
        for one in (plain, squashed)
    ]
    assert listings[0] == listings[1]
    assert image(sampand, squashed.text)["Config"] == image(sampand, plain.text)["Config"]
    assert build(sampand, tmp_path, text, "--squash").text == squashed.text
    history = sampand.docker("history", "--no-trunc", squashed.text).text
    assert "merge sha256:" in history


def test_squash_from_docker(sampand: Sampand, tmp_path: Path) -> None:
    """docker-py and old clients send it; dockerd takes it only in experimental mode."""
    (tmp_path / "Dockerfile").write_text(SQUASHED)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(tmp_path / "Dockerfile", "Dockerfile")
    status, _, answer = sampand.request("POST", "/build?squash=1&q=1", raw=context.getvalue())
    assert status == 200
    assert b"sha256:" in answer
