"""Running the distribution's programs: found by absolute path, with an environment of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sampan.errors import Unavailable

Say = Callable[[str], None]  # takes one line about what happens

_FOLDERS: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_LAST_LINES: Final = 3
# apt reads its proxy from the environment as well as from its own files.
_KEPT: Final = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def find_program(name: str) -> str | None:
    """Return the absolute path of a program of the distribution."""
    for folder in _FOLDERS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def get_program(name: str, *, package: str) -> str:
    """Return the absolute path of a program.

    Raises:
        Unavailable: its package is not installed.
    """
    path = find_program(name)
    if path is None:
        raise Unavailable(f"{name} is not installed", hint=f"install it: apt-get install {package}")
    return path


def run(argv: Sequence[str], *, folder: str, environment: Mapping[str, str] | None = None) -> bytes:
    """Run a program to its end in a folder; return its output.

    Raises:
        Unavailable: it fails; the message has the last lines it wrote.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    done = subprocess.run(
        list(argv),
        cwd=folder,
        env={"PATH": ":".join(_FOLDERS), "LC_ALL": "C.UTF-8", **kept, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        last = " / ".join(lines[-_LAST_LINES:]) or f"exit code {done.returncode}"
        raise Unavailable(f"{os.path.basename(argv[0])} failed: {last}")
    return done.stdout
