"""Rows for cp, diff and commit: a large file, many small ones, both ways.

Each comes twice: as time, and as processor time of the command and the daemon together, which a busy machine
and its disk change less. Small files that are copied stay until the end: ext4 does not give the numbers of
files that were deleted within the last minutes to new ones (fs/ext4/ialloc.c, recently_deleted), and looking
for others takes ten times as long as the rest of making a file. A tmpfs has no such trouble; with `--root` on
one the whole takes 6 GB of memory.
"""

from __future__ import annotations

import os
import resource
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
    engine: engines.Engine

    def shell(self, script: str) -> None:
        time_command([*self.client, "exec", BOX, "/bin/busybox", "sh", "-c", script])


def rows(root: Path, found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    """Return the rows; rounds are few, a gigabyte takes seconds."""
    contestants = [
        _Contestant(name, found[name].client, found[name]) for name in ("sampan", "docker") if name in found
    ]
    if "sampan" in found:
        client = ("/usr/bin/docker", "-H", f"unix://{found['sampan'].socket}")
        contestants.append(_Contestant("docker CLI on sampand", client, found["sampan"]))
    large, many, out = root / "large", root / "many", root / "out"
    _make_large(large)
    _make_many(many)
    out.mkdir()
    with _boxes(contestants, large, many):
        measured = [  # commit and diff first: what is copied in afterwards is not to be theirs
            ("commit of 1 GB and 50,000 files", ["commit", BOX, "committed-NUMBER"]),
            ("diff of 50,000 changed files", ["diff", BOX]),
            ("cp of 1 GB into a container", ["cp", str(large), f"{BOX}:/new"]),
            ("cp of 1 GB out of a container", ["cp", f"{BOX}:/large", str(out / "new")]),
            ("cp of 50,000 files into a container", ["cp", str(many), f"{BOX}:/new-NUMBER"]),
            ("cp of 50,000 files out of a container", ["cp", f"{BOX}:/many", str(out / "new-NUMBER")]),
        ]
        made = [_measure(name, arguments, contestants, rounds, out) for name, arguments in measured]
        shutil.rmtree(out)
        return [row for rows in made for row in rows]


def _measure(
    name: str, arguments: list[str], contestants: list[_Contestant], rounds: int, out: Path
) -> tuple[Row, Row]:
    """Return the row of the time and that of the processor time."""
    spent = Row(f"files: {name}", "ms", "≤ 1/2 of docker")
    processor = Row(f"files: {name}, processor time", "ms", "≤ 1/2 of docker")
    for number in range(rounds):
        for index, contestant in enumerate(contestants):
            once = f"{number}-{index}"
            contestant.shell(f"echo {once} > /round")  # a commit of the same again would be half a commit
            os.sync()  # what the one before has written is not this one's to wait for
            before = _processor_ms(contestant.engine)
            command = [*contestant.client, *(word.replace("NUMBER", once) for word in arguments)]
            spent.values.setdefault(contestant.name, []).append(time_command(command))
            processor.values.setdefault(contestant.name, []).append(_processor_ms(contestant.engine) - before)
            subprocess.run([*contestant.client, "rmi", f"committed-{once}"], capture_output=True)
            contestant.shell("rm -f /new")
            (out / "new").unlink(missing_ok=True)
    return spent, processor


def _processor_ms(engine: engines.Engine) -> float:
    """Return what the daemon with its helpers and the commands that have ended have used until now."""
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for pid in engines.children_of(engine.daemon_pids()[0]):
        try:
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue  # a helper that has just ended: its parent counts it
    return 1000 * (commands.ru_utime + commands.ru_stime + ticks / os.sysconf("SC_CLK_TCK"))


@contextmanager
def _boxes(contestants: list[_Contestant], large: Path, many: Path) -> Iterator[None]:
    """A container on each engine that has both trees already."""
    engines_once = [one for one in contestants if one.name in ("sampan", "docker")]
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
