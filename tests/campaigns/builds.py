"""Builds that are broken off at random moments: sampand killed, or the client gone, at each door."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.campaigns import census
from tests.system.buildkit_kit import BUILDX, buildx
from tests.system.sampand import DOCKER, SAMPAND, Sampand

_DOCKERFILE = (
    "FROM busybox AS one\nARG n\n"
    "RUN --mount=type=cache,target=/c echo $n >> /c/f && usleep 20000 && cp /c/f /one\n"
    "FROM busybox AS two\nARG n\nCOPY many /many\nRUN find /many | wc -l > /two && echo $n > /n\n"
    "FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /n /\nWORKDIR /made/here\nRUN usleep 20000\n"
    "RUN cat /one /two /n > /all && ! grep -q fail /n\n"
)
_FILES = 300


def builds(daemon: Sampand, count: int, seed: int) -> list[str]:
    """Break builds off; what was built afterwards must be right, and nothing may be left.

    A third of the breaks kills sampand, a third the client, and the rest lets a step fail. After each, the
    same build by another door has to come to the right files. At last everything is pruned.
    """
    dice = random.Random(seed)
    violations: list[str] = []
    with tempfile.TemporaryDirectory(dir=daemon.folder) as folder:
        context = _write(Path(folder))
        _build(daemon, context, "warm", "warm")
        _prune(daemon)
        before = census.take(daemon)
        for number in range(count):
            how = dice.choice(("sampand", "client", "step"))
            door = dice.choice(("sampan", "classic", "buildx"))
            word = f"fail{number}" if how == "step" else f"n{number}"
            (context / "many/f0").write_text(f"{number}\n")
            _break_off(daemon, context, door, how, word, after_s=dice.uniform(0.05, 1.0))
            violations += [
                f"{number} ({how}, {door}): {text}" for text in _check(daemon, context, f"n{number}", dice)
            ]
            if violations:
                break
            if number % 20 == 19:
                print(f"{number + 1} builds broken off", flush=True)
        checked = daemon.sampan("system", "check", "--images")
        violations += [] if checked.code == 0 else [checked.text]
        _prune(daemon)
        census.settle(daemon, before)
        after = census.take(daemon)
    # Another process has other descriptors.
    left = [line for line in census.differences(before, after) if "fds" not in line]
    return [*violations, *left, *_left_of_builds(daemon)]


def _write(folder: Path) -> Path:
    (folder / "many").mkdir()
    for number in range(_FILES):
        large = 1000 if number % 30 == 1 else 1  # those are linked from the layer before
        (folder / "many" / f"f{number}").write_text(f"{number}\n" * 50 * large)
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    return folder


def _command(daemon: Sampand, door: str, context: Path, word: str) -> tuple[Sequence[str], dict[str, str]]:
    options = ["-q", f"--build-arg=n={word}", str(context)]
    if door == "buildx" and BUILDX.exists():
        buildx(daemon, "version")  # makes the folder with the plugin
        environment = {**daemon.environment, "DOCKER_CONFIG": str(daemon.folder / "buildx-config")}
        return [DOCKER, "buildx", "build", *options], environment
    program = str(SAMPAND.parent / "sampan") if door == "sampan" else DOCKER
    return [program, "build", *options], {**daemon.environment, "DOCKER_BUILDKIT": "0"}


def _break_off(daemon: Sampand, context: Path, door: str, how: str, word: str, *, after_s: float) -> None:
    command, environment = _command(daemon, door, context, word)
    client = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    if how != "step":
        time.sleep(after_s)
    if how == "sampand":
        daemon.kill()
    if how == "client":
        os.killpg(client.pid, signal.SIGKILL)
    client.wait(60)
    if how == "sampand":
        daemon.start()


def _check(daemon: Sampand, context: Path, word: str, dice: random.Random) -> list[str]:
    """Build what was broken off, and look at it."""
    image = _build(daemon, context, word, dice.choice(("sampan", "classic")))
    if not image:
        return ["the build after it fails"]
    shown = daemon.sampan("run", "--rm", image, "cat", "/two", "/n", "/all").text.split()
    daemon.sampan("rmi", "-f", image)
    files = str(_FILES + 1)
    return [] if shown[:2] == [files, word] and shown[-2:] == [files, word] else [f"it has built {shown}"]


def _build(daemon: Sampand, context: Path, word: str, door: str) -> str:
    command, environment = _command(daemon, door, context, word)
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    if done.returncode:
        print(done.stderr[-500:], flush=True)
        return ""
    return done.stdout.strip().splitlines()[-1]


def _prune(daemon: Sampand) -> None:
    daemon.call("POST", '/images/prune?filters={"dangling":["true"]}')
    daemon.call("POST", "/build/prune?all=1")


def _left_of_builds(daemon: Sampand) -> list[str]:
    found = [daemon.run / "build", *(daemon.data / name for name in ("build-cache", "build-failed"))]
    return [f"left: {path}/{name}" for path in found if path.is_dir() for name in os.listdir(path)]
