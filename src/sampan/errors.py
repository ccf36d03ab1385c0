"""The errors a user may read. Classes say what the caller can do, not where it happened.

`kernel` raises OSError; the layer that knows what the user asked for turns it into one of these,
always `raise ... from exc`. An unexpected OSError stays one: the daemon answers 500.
"""

from __future__ import annotations


class SampanError(Exception):
    """Root of the errors a user may read; hint says what to try next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidArgument(SampanError):
    """What was asked for is wrong in itself; only another request can succeed."""


class NotFound(SampanError):
    """The named object does not exist."""


class Conflict(SampanError):
    """The object's state forbids the call; a change of state clears it."""


class NotModified(SampanError):
    """The object is already as asked for; nothing was done."""


class Forbidden(SampanError):
    """The caller may not do this, whatever the state."""


class Unauthorized(SampanError):
    """Credentials are missing or wrong."""


class Unavailable(SampanError):
    """A service that the call needs does not answer; the same call may succeed later."""


class TimedOut(Unavailable):
    """No answer came within the time that the caller allowed."""


class Unsupported(SampanError):
    """This machine, or this version of sampan, cannot do it; the message says which."""


class CommandNotFound(SampanError):
    """The container's program does not exist in its root file system (exit code 127)."""


class CommandNotExecutable(SampanError):
    """The container's program exists but the kernel refuses to run it (exit code 126)."""


class ProcessFailed(SampanError):
    """A process that was run for its output ended with a code other than 0."""

    def __init__(
        self, message: str, *, exit_code: int, stdout: bytes = b"", stderr: bytes = b"", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
