"""Reading from a log of 1 GB: the same json-file under every engine's container."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.engines import Engine

SIZE = 1_000_000_000
_START = 1_700_000_000
_PER_SECOND = 100  # lines of the log
_TEXT = "a line of about eighty characters, as a web server would write one to its log"


def make_log(path: Path) -> int:
    """Write a json-file log of SIZE bytes and return how many lines it has."""
    count, written = 0, 0
    with path.open("w") as file:
        while written < SIZE:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(_START + count // _PER_SECOND))
            for number in range(_PER_SECOND):
                line = (
                    f'{{"log":"{count + number} {_TEXT}\\n","stream":"stdout",'
                    f'"time":"{stamp}.{number * 10_000_000:09d}Z"}}\n'
                )
                written += file.write(line)
            count += _PER_SECOND
    return count


def stamp_of(line: int) -> str:
    """Return the time of a line of the log."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(_START + line // _PER_SECOND))}Z"


def put_log(engine: Engine, name: str, log: Path) -> None:
    """Make a container that has ended, and give it the log."""
    flags = ("--name", name, "--network", "none", "--log-driver", "json-file", "--log-opt", "max-size=-1")
    if engine.name != "sampan":
        flags = flags[:-2]
    subprocess.run(engine.run(*flags, "busybox", "echo", "x"), check=True, capture_output=True)
    shown = subprocess.run([*engine.client, "inspect", name], check=True, capture_output=True).stdout
    path = json.loads(shown)[0]["LogPath"]
    shutil.copyfile(log, path)  # a link does not do: dockerd mounts its data root onto itself


def commands(found: dict[str, Engine], name: str, *flags: str) -> dict[str, Sequence[str]]:
    """Return the `logs` command of every contestant that has a daemon."""
    wanted: dict[str, Sequence[str]] = {
        engine.name: (*engine.client, "logs", *flags, name) for engine in found.values() if engine.socket
    }
    if "sampan" in found:
        wanted["docker CLI on sampand"] = (
            "/usr/bin/docker", "-H", f"unix://{found['sampan'].socket}", "logs", *flags, name,
        )  # fmt: skip
    return wanted
