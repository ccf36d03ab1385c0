"""Rows for cp, diff and commit: a large file, many small ones, both ways; clean-up is not in the time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import engines
from bench.compare import Row, time_command

LARGE_MIB = 1024
MANY = 50_000
FOLDERS = 50
BOX = "files"


@dataclass(frozen=True, slots=True)
class _Contestant:
    """A command line, and the engine's own client for what is not measured."""

    name: str
    client: tuple[str, ...]

    def shell(self, script: str) -> None:
        time_command([*self.client, "exec", BOX, "/bin/busybox", "sh", "-c", script])


def rows(root: Path, found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    """Return the rows; rounds are few, a gigabyte takes seconds."""
    contestants = [_Contestant(name, found[name].client) for name in ("sampan", "docker") if name in found]
    if "sampan" in found:
        contestants.append(
            _Contestant(
                "docker CLI on sampand", ("/usr/bin/docker", "-H", f"unix://{found['sampan'].socket}")
            )
        )
    large, many, out = root / "large", root / "many", root / "out"
    _make_large(large)
    _make_many(many)
    with _boxes(contestants, large, many):
        measured = [
            ("files: cp of 1 GB into a container", ["cp", str(large), f"{BOX}:/new"]),
            ("files: cp of 1 GB out of a container", ["cp", f"{BOX}:/large", str(out)]),
            ("files: cp of 50,000 files into a container", ["cp", str(many), f"{BOX}:/new"]),
            ("files: cp of 50,000 files out of a container", ["cp", f"{BOX}:/many", str(out)]),
            ("files: commit of 1 GB and 50,000 files", ["commit", BOX, "committed"]),
            ("files: diff of 50,000 changed files", ["diff", BOX]),
        ]
        return [_measure(name, arguments, contestants, rounds, out) for name, arguments in measured]


def _measure(name: str, arguments: list[str], contestants: list[_Contestant], rounds: int, out: Path) -> Row:
    row = Row(name, "ms", "≤ 1/2 of docker")
    for _ in range(rounds):
        for contestant in contestants:
            os.sync()  # what the one before has written is not this one's to wait for
            row.values.setdefault(contestant.name, []).append(time_command([*contestant.client, *arguments]))
            contestant.shell("rm -rf /new")
            subprocess.run([*contestant.client, "rmi", "committed"], capture_output=True)
            if out.is_dir():
                shutil.rmtree(out)
            out.unlink(missing_ok=True)
    return row


@contextmanager
def _boxes(contestants: list[_Contestant], large: Path, many: Path) -> Iterator[None]:
    """A container on each engine that has both trees already."""
    engines_once = [one for one in contestants if one.name != "docker CLI on sampand"]
    try:
        for one in engines_once:
            run = ("run", "-d", "--name", BOX, "--network", "none", "busybox", "sleep", "9000")
            time_command([*one.client, *run])
            time_command([*one.client, "cp", str(large), f"{BOX}:/large"])
            time_command([*one.client, "cp", str(many), f"{BOX}:/many"])
        yield
    finally:
        for one in engines_once:
            subprocess.run([*one.client, "rm", "-f", BOX], capture_output=True)


def _make_large(path: Path) -> None:
    piece = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(LARGE_MIB):
            file.write(piece)


def _make_many(folder: Path) -> None:
    for number in range(FOLDERS):
        inner = folder / str(number)
        inner.mkdir(parents=True)
        for name in range(MANY // FOLDERS):
            (inner / str(name)).write_bytes(b"x" * (name % 2048))
