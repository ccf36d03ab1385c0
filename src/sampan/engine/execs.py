"""Execs: further programs in a running container."""

from __future__ import annotations

from sampan.engine.types import AttachTarget, ExitCallback, Subscription
from sampan.spec import docker


class Execs:
    """Every verb but create takes the id of an exec; NotFound is `No such exec instance: X`."""

    def create(self, container_ref: str, request: docker.ExecCreate) -> str:
        """Prepare a program and return the exec's id; the user is looked up here.

        Raises:
            InvalidArgument: no command, an unknown user or another wrong field.
            Conflict: the container does not run, or is paused.
        """
        raise NotImplementedError

    def prepare_start(self, exec_id: str) -> AttachTarget:
        """Check that the exec can start now, before the connection is taken over; running is always False.

        Raises:
            Conflict: its container stopped or is paused, or it has run already.
        """
        raise NotImplementedError

    def start(
        self,
        exec_id: str,
        *,
        fd: int | None,
        framed: bool,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None = None,
    ) -> None:
        """Run the program; fd (duplicated here) is its connection, None when detached. Size is (h, w).

        Raises:
            Conflict: as prepare_start.
            CommandNotFound, CommandNotExecutable: the exit code is 127 or 126 from then on.
        """
        raise NotImplementedError

    def resize(self, exec_id: str, *, height: int, width: int) -> None:
        """Set the size of the exec's terminal, waiting up to ten seconds for its start."""
        raise NotImplementedError

    def inspect(self, exec_id: str) -> docker.ExecInspect:
        """Tell the state of an exec."""
        raise NotImplementedError

    def on_exit(self, exec_id: str, callback: ExitCallback) -> Subscription:
        """Call back once, in a thread of the engine, when the program has ended."""
        raise NotImplementedError
