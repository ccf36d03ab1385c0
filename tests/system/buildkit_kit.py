"""The real clients of BuildKit's protocol against a sampand: docker with the buildx plugin, docker compose.

`tools/buildkit-clients` fetches them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.system.sampand import DOCKER, Result, Sampand

_CLIENTS = Path(__file__).parents[2] / ".clients"
BUILDX, COMPOSE = _CLIENTS / "docker-buildx", _CLIENTS / "docker-compose"

needs_buildx = pytest.mark.skipif(not BUILDX.exists(), reason="no buildx (tools/buildkit-clients)")
needs_compose = pytest.mark.skipif(not COMPOSE.exists(), reason="no compose (tools/buildkit-clients)")


def buildx(daemon: Sampand, *arguments: str, stdin: bytes = b"") -> Result:
    """Run `docker buildx …`."""
    config = daemon.folder / "buildx-config"
    plugin = config / "cli-plugins/docker-buildx"
    if not plugin.exists():
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.symlink_to(BUILDX)
    environment = {**daemon.environment, "DOCKER_CONFIG": str(config)}
    return _run([DOCKER, "buildx", *arguments], environment, stdin)


def build(daemon: Sampand, folder: Path, *options: str) -> Result:
    """Run `docker buildx build` with plain progress."""
    return buildx(daemon, "build", "--progress=plain", *options, str(folder))


def compose(daemon: Sampand, folder: Path, *arguments: str) -> Result:
    """Run `docker compose …` in a project's folder; the builder is the one that compose carries."""
    environment = {**daemon.environment, "COMPOSE_BAKE": "false", "BUILDKIT_PROGRESS": "plain"}
    return _run([str(COMPOSE), "--project-directory", str(folder), *arguments], environment)


def _run(command: list[str], environment: dict[str, str], stdin: bytes = b"") -> Result:
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=60, check=False)
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def write(folder: Path, dockerfile: str, **files: str) -> Path:
    """Write a context; its files are old enough for their digests to be remembered."""
    folder.mkdir(exist_ok=True)
    for name, text in {"Dockerfile": dockerfile, **files}.items():
        (folder / name).write_text(text)
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    return folder
