"""A created container in the hands of the process that created it. Lean."""

from __future__ import annotations

import os

from sampan.runtime.start import start_loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.report import Reporter
    from sampan.runtime.state import State


class Container:
    """A created container, child of the calling process. `close` gives up the descriptors, not the container.

    console_master is the terminal's master side, -1 without one or when it was sent to the console socket.
    """

    def __init__(self, state: State, pidfd: int, console_master: int, reporter: Reporter) -> None:
        self._state = state
        self._reporter = reporter
        self.id = state.id
        self.state_root = state.state_root
        self.pid = state.pid
        self.pidfd = pidfd
        self.start_ticks = state.start_ticks
        self.console_master = console_master

    def start(self) -> None:
        """Let the program run; return once execve has worked.

        Raises:
            CommandNotFound, CommandNotExecutable: the program cannot be run.
            Conflict: it was started before, or has ended.
        """
        self._reporter.begin()
        start_loaded(self._state)
        self._reporter.started()

    def close(self) -> None:
        """Close pidfd and console_master; a second call does nothing."""
        for fd in (self.pidfd, self.console_master):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console_master = -1


class Process:
    """A process that joined a container and runs its program; a child of the calling process."""

    def __init__(self, pid: int, pidfd: int, console_master: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.console_master = console_master

    def close(self) -> None:
        """Close pidfd and console_master; a second call does nothing."""
        for fd in (self.pidfd, self.console_master):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console_master = -1
