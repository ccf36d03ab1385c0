"""How a command ends: its exit code, and the lines on standard error that say why. Lean (decision 0002)."""

from __future__ import annotations

import posix
import sys

from sampan.errors import SampanError

USAGE = 125  # docker's code for "the command itself failed, no container ran"


class Failed(SampanError):
    """The command ends with this exit code after its message was shown."""

    def __init__(self, message: str, *, hint: str = "", code: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class UsageError(Failed):
    """The command line is wrong; nothing was asked of the daemon."""

    def __init__(self, message: str, *, hint: str = "", code: int = USAGE) -> None:
        super().__init__(message, hint=hint, code=code)


def report(error: SampanError) -> None:
    """Write `error: …` and, where there is one, `hint: …` to standard error."""
    complain(f"error: {error}")
    if error.hint:
        complain(f"hint: {error.hint}")


def complain(line: str) -> None:
    """Write one line to standard error; a closed standard error is no reason to fail."""
    try:
        sys.stdout.flush()  # what was printed before stands before the error
    except OSError:
        pass  # told when the command ends
    try:
        posix.write(2, (line + "\n").encode("utf-8", "surrogateescape"))
    except OSError:
        pass
