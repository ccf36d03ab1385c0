"""sampand's door to the launcher and to the shims (docs/shim.md). Synchronous; any thread may call.

Each request to a shim uses a connection of its own, so there is nothing to lock. Waits are bounded:
a launcher or shim that does not answer in time gives Unavailable, and the caller decides.
"""

from __future__ import annotations

from sampan.runtime.launcher.messages import (
    AttachRequest,
    Detached,
    ExecExited,
    ExecStart,
    Exited,
    ExitRecord,
    LogSettings,
    Lost,
    ShimRequest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.fastjson import JsonValue
    from sampan.runtime.launcher.messages import Event

__all__ = [
    "AttachRequest",
    "Detached",
    "ExecExited",
    "ExecStart",
    "ExitRecord",
    "Exited",
    "Launcher",
    "LogSettings",
    "Lost",
    "ShimHandle",
    "ShimRequest",
    "connect_shim",
    "read_exit_record",
]


class Launcher:
    """The launcher process. `fd` becomes readable when it has died; then `close` and `spawn` another."""

    fd: int
    pid: int

    @classmethod
    def spawn(cls, *, run_root: str, data_root: str) -> Launcher:
        """Start the launcher program, on an interpreter that no container can write to.

        Raises:
            Unavailable: it did not come up.
        """
        raise NotImplementedError

    def alive(self) -> bool:
        """Return whether the launcher still holds its end of the socket."""
        raise NotImplementedError

    def start(
        self, request: ShimRequest, attaches: Sequence[AttachRequest] = (), *, timeout_s: float = 120.0
    ) -> ShimHandle:
        """Create and start a container in a new shim; attaches get every byte from the first on.

        Raises:
            CommandNotFound, CommandNotExecutable, InvalidArgument, SampanError: what the runtime said; nothing is left.
            Unavailable: launcher or shim ended or did not answer within timeout_s.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the launcher; shims live on."""
        raise NotImplementedError


class ShimHandle:
    """One running container's shim. `fd` is readable when `read_events` has something to return."""

    fd: int
    run_dir: str
    pid: int  # of init, in sampand's pid namespace
    start_ticks: int  # of init: pid and start_ticks together name a process for good
    shim_pid: int
    started_at_ns: int

    def read_events(self) -> list[Event]:
        """Return the events that wait, without waiting; the last one is `Lost` when the shim has gone."""
        raise NotImplementedError

    def acknowledge(self, event: ExecExited) -> None:
        """Say that an exec's exit code is recorded: only then, or after 1 s, its stream is closed."""
        raise NotImplementedError

    def attach(self, request: AttachRequest) -> None:
        """Join a client to the container's streams; output comes from now on.

        Raises:
            Conflict: the container has ended.
        """
        raise NotImplementedError

    def exec(self, request: ExecStart, *, timeout_s: float = 60.0) -> int:
        """Run a further process and return its pid once execve has worked.

        Raises:
            CommandNotFound, CommandNotExecutable, InvalidArgument, SampanError: what the runtime said.
            Conflict: the container has ended, or exec_id is in use.
        """
        raise NotImplementedError

    def resize(self, rows: int, columns: int, exec_id: str | None = None) -> None:
        """Set the terminal size of the container or of an exec.

        Raises:
            NotFound: no such exec runs.
            Conflict: it has no terminal.
        """
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """Send a signal to init, never to a stranger with its pid.

        Raises:
            Conflict: init has ended.
        """
        raise NotImplementedError

    def kill_all(self) -> None:
        """Send SIGKILL to every process of the container."""
        raise NotImplementedError

    def close_stdin(self, exec_id: str | None = None) -> None:
        """Give the container (or an exec) end of file on its standard input."""
        raise NotImplementedError

    def report(self) -> list[JsonValue]:
        """Return the runtime's notes of the start, in order; empty unless ShimRequest.report was set."""
        raise NotImplementedError

    def release(self, *, timeout_s: float = 30.0) -> None:
        """Let the shim of an ended container go; returns when cgroup and runtime state are removed.

        Call it after `Exited` before the same id is started again or its directories are removed. A shim
        that is already gone is fine.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close this handle; the shim and its container live on."""
        raise NotImplementedError


def connect_shim(run_dir: str) -> ShimHandle:
    """Return a handle on the shim of run_dir; events that nobody read yet come first.

    Raises:
        NotFound: no shim answers there: look for its exit record.
    """
    raise NotImplementedError


def read_exit_record(run_dir: str) -> ExitRecord | None:
    """Return how the container of run_dir ended, or None if it has no (valid) exit record."""
    raise NotImplementedError
