"""`sampan registry serve`: this command becomes `sampan-registry`. Lean."""

from __future__ import annotations

import os
import sys

from sampan.cli.outcome import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags

_TEXTS = (
    "data-root",
    "htpasswd",
    "proxy",
    "proxy-user",
    "proxy-password-file",
    "tls-cert",
    "tls-key",
    "log-level",
    "log-format",
    "stale-after",
)
_TRUTHS = ("host-images", "tokens", "anonymous-pull", "open", "read-only")
_PROGRAM = "sampan-registry"


def serve(_context: Context, flags: Flags, arguments: list[str]) -> int:
    """Serve a registry in the foreground, until ctrl-C."""
    program = _find_program()
    command = [program]
    for name in _TEXTS:
        if flags.text(name):
            command += [f"--{name}", flags.text(name)]
    command += [f"--{name}" for name in _TRUTHS if flags.truth(name)]
    os.execv(program, [*command, *arguments])  # noqa: S606 -- by its path, with a list


def _find_program() -> str:
    """Return the program: beside this command, or on PATH.

    Raises:
        Failed: it is not there.
    """
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), _PROGRAM)
    folders = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    for path in (beside, *(os.path.join(folder, _PROGRAM) for folder in folders if folder.startswith("/"))):
        if os.access(path, os.X_OK):
            return path
    raise Failed(f"there is no program {_PROGRAM}: neither {beside} nor on PATH", code=1)
