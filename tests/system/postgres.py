"""Debian's PostgreSQL as an image, for tests that want a real server."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.system.sampand import Sampand, busybox_tar

HOME = Path("/usr/lib/postgresql/15")
ENVIRONMENT = {"LC_ALL": "C", "PATH": f"{HOME}/bin:/bin"}
needs_postgres = pytest.mark.skipif(not HOME.exists(), reason="no PostgreSQL (Debian: postgresql-15)")


def load_postgres(daemon: Sampand) -> str:
    """Make an image of busybox and PostgreSQL with the libraries that it needs; return its name."""
    archive = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=archive, mode="a") as tar:
        for path in (HOME, Path("/usr/share/postgresql/15"), *_libraries()):
            tar.add(path.resolve(), str(path).lstrip("/"))
    target = "/images/create?fromSrc=-&repo=postgres&tag=15"
    status, _, answer = daemon.request("POST", target, raw=archive.getvalue())
    assert (status, b"error" in answer) == (200, False), answer
    return "postgres:15"


def _libraries() -> list[Path]:
    """Return every library that PostgreSQL's programs load at their start."""
    found = set()
    for program in ("postgres", "initdb", "psql"):
        listed = subprocess.run(["ldd", HOME / "bin" / program], capture_output=True, text=True, check=True)
        found |= {word for word in listed.stdout.split() if word.startswith("/")}
    return sorted(map(Path, found))
