"""The pipes between a shim and a process it starts. Lean."""

from __future__ import annotations

import os

from sampan.lean import record
from sampan.runtime.launcher.attached import STDERR, STDOUT


@record
class Stdio:
    """Both ends of a process's standard streams, close-on-exec.

    child: what the process gets as 0, 1, 2. outputs: stream number to our reading end. stdin: our writing
    end, -1 when the process reads /dev/null.
    """

    child: tuple[int, int, int]
    outputs: dict[int, int]
    stdin: int

    def close_child_ends(self) -> None:
        """Close the process's ends: only then does its end show as the end of our pipes."""
        for fd in set(self.child):
            os.close(fd)

    def close_our_ends(self) -> None:
        """Close our ends; for a process that was not started."""
        for fd in (*self.outputs.values(), self.stdin):
            if fd >= 0:
                os.close(fd)


def open_pipes(*, stdin: bool) -> Stdio:
    """Return pipes for standard output and error, and for input if wanted."""
    out_reader, out_writer = os.pipe2(os.O_CLOEXEC)
    err_reader, err_writer = os.pipe2(os.O_CLOEXEC)
    if stdin:
        in_reader, in_writer = os.pipe2(os.O_CLOEXEC)
    else:
        in_reader, in_writer = _open_null(), -1
    return Stdio(
        child=(in_reader, out_writer, err_writer),
        outputs={STDOUT: out_reader, STDERR: err_reader},
        stdin=in_writer,
    )


def open_nothing() -> Stdio:
    """Return /dev/null three times: for a process with a terminal, or one that nobody listens to."""
    null = _open_null()
    return Stdio(child=(null, null, null), outputs={}, stdin=-1)


def terminal_ends(master: int, *, stdin: bool) -> tuple[dict[int, int], int]:
    """Return (outputs, stdin) of a terminal as duplicates of its master, which the caller keeps for resizing.

    Reading and writing get a descriptor each, because each is watched by itself.
    """
    return {STDOUT: os.dup(master)}, os.dup(master) if stdin else -1


def _open_null() -> int:
    return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
