"""Builds beside docker's classic builder and podman's: all cached, many small steps, parallel stages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bench import engines
from bench.compare import Contestants, Row, alternate

FILES = 5_000
SMALL = 10


def rows(root: Path, found: dict[str, engines.Engine], rounds: int) -> list[Row]:
    """Return the rows."""
    os.environ["DOCKER_BUILDKIT"] = "0"
    steps = "".join(f"RUN echo {n} > /f{n}\n" if n % 2 else f"ENV v{n}={n}\n" for n in range(19))
    cached = _folder(root / "cached", f"FROM busybox\n{steps}")
    many = _folder(root / "many", "FROM busybox\nCOPY . /d\nRUN true\n")
    for number in range(FILES):
        folder = many / f"d{number // 200}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_text(f"{number}\n" * 50)
    small = _folder(root / "small", "FROM busybox\n" + "RUN true\n" * SMALL)
    two = _folder(
        root / "two",
        "FROM busybox AS a\nRUN sleep 2; echo a > /a\nFROM busybox AS b\nRUN sleep 2; echo b > /b\n"
        "FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
    )
    few = max(1, rounds // 4)
    return [
        _row("builds: 20 steps, all cached", "≤ 1/5 of docker", found, cached, rounds),
        _row(f"builds: context of {FILES:,} files, all cached", "≤ 1/5 of docker", found, many, few),
        _row(f"builds: {SMALL} RUN steps", "≤ 1/5 of docker", found, small, few, "--no-cache"),
        _row("builds: two stages of 2 s each", "2 s", found, two, few, "--no-cache"),
    ]


def _folder(path: Path, dockerfile: str) -> Path:
    path.mkdir()
    (path / "Dockerfile").write_text(dockerfile)
    return path


def _row(
    name: str, budget: str, found: dict[str, engines.Engine], folder: Path, rounds: int, *options: str
) -> Row:
    network = "--network=none"
    command: Callable[[engines.Engine], tuple[str, ...]] = lambda engine: (  # noqa: E731 -- used twice
        *engine.client, "build", "-q", network, *options, str(folder),
    )  # fmt: skip
    contestants: Contestants = {name: command(engine) for name, engine in found.items()}
    if "sampan" in found:
        contestants["docker CLI on sampand"] = (
            "/usr/bin/docker", "-H", f"unix://{found['sampan'].socket}",
            "build", "-q", network, *options, str(folder),
        )  # fmt: skip
    return alternate(Row(name, "ms", budget), contestants, rounds)
