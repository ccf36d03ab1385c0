"""What a shim needs of a container, whichever OCI runtime made it. Lean.

`create_container` is sampan's own runtime, in this process; `foreign.py` is another one, as a program.
"""

from __future__ import annotations

import os

from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.runtime import lifecycle
from sampan.runtime.requests import CreateRequest, ExecRequest
from sampan.spec.config import parse_process
from sampan.spec.runtime import ConsoleSize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import pidfd_send_signal
    from typing import Protocol

    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.launcher.messages import ExecStart, ShimRequest
    from sampan.runtime.launcher.stdio import Stdio
    from sampan.runtime.requests import Plank

    class Payload(Protocol):
        """A created container, whose init is our child."""

        pid: int
        start_ticks: int
        console_master: int  # -1 without a terminal

        def start(self) -> None:
            """Let the program run; return once execve has worked. SampanError as of the runtime."""

        def signal(self, number: int) -> None:
            """Send a signal to init. Raises Conflict when it has ended."""

        def kill_all(self) -> None:
            """Send SIGKILL to every process of the container; none is fine."""

        def start_exec(self, request: ExecStart, stdio: Stdio) -> tuple[int, int]:
            """Run a further process; return its pid and its terminal's master or -1. It is our child."""

        def oom_kills(self) -> int:
            """Return how many processes of the container the kernel killed for memory."""

        def delete(self) -> None:
            """Remove cgroup and runtime state of the ended container; OSError or Conflict: try again."""

else:
    from _signal import pidfd_send_signal


class OwnPayload:
    """A container of sampan's own runtime."""

    def __init__(self, container: lifecycle.Container) -> None:
        self._container = container
        self.pid = container.pid
        self.start_ticks = container.start_ticks
        self.console_master = container.console_master

    def start(self) -> None:
        """Let the program run."""
        self._container.start()

    def signal(self, number: int) -> None:
        """Send a signal to init by its pidfd."""
        send_signal(self._container.pidfd, number)

    def kill_all(self) -> None:
        """Send SIGKILL to every process in the cgroup."""
        kill_cgroup(self._cgroup())

    def start_exec(self, request: ExecStart, stdio: Stdio) -> tuple[int, int]:
        """Join the container with one more process."""
        process = parse_process(exec_document(request))
        started = lifecycle.exec_process(
            ExecRequest(
                id=self._container.id,
                state_root=self._container.state_root,
                process=process,
                stdio=stdio.child,
                die_with_parent=True,
            )
        )
        os.close(started.pidfd)  # we are the parent: until we reap it, its pid is its own
        return started.pid, started.console_master

    def oom_kills(self) -> int:
        """Read the cgroup's counter."""
        return count_oom_kills(self._cgroup())

    def delete(self) -> None:
        """Remove what the runtime made."""
        try:
            lifecycle.delete_container(self._container.state_root, self._container.id, force=True)
        except NotFound:
            pass

    def _cgroup(self) -> CgroupManager:
        return lifecycle.load_state(self._container.state_root, self._container.id).cgroup()


def create_container(request: ShimRequest, stdio: Stdio, report: list[Plank] | None) -> OwnPayload:
    """Create a container: everything but its program's start.

    Raises:
        SampanError: as `lifecycle.create_container`; nothing is left behind.
    """
    state_root, _, name = request.run_dir.rpartition("/")
    container = lifecycle.create_container(
        CreateRequest(
            id=name,
            bundle=request.bundle,
            state_root=state_root,
            stdio=stdio.child,
            root_mount=request.root_mount,
            console_size=console_size(request.console_size),
            die_with_parent=True,
            init=request.init,
            report=report,
        )
    )
    return OwnPayload(container)


def console_size(size: tuple[int, int] | None) -> ConsoleSize | None:
    """Return (rows, columns) as the runtime takes it."""
    return None if size is None else ConsoleSize(height=size[0], width=size[1])


def exec_document(request: ExecStart) -> dict[str, object]:
    """Return the OCI process document of an exec, with its terminal and size."""
    document: dict[str, object] = {**request.process, "terminal": request.terminal}
    if request.console_size is not None:
        rows, columns = request.console_size
        document["consoleSize"] = {"height": rows, "width": columns}
    return document


def kill_cgroup(cgroup: CgroupManager) -> None:
    """Kill every process in a cgroup, and give the manager up."""
    try:
        cgroup.kill()
    finally:
        cgroup.close()


def count_oom_kills(cgroup: CgroupManager) -> int:
    """Return a cgroup's count of processes killed for memory, and give the manager up."""
    try:
        return cgroup.oom_kills()
    finally:
        cgroup.close()


def send_signal(pidfd: int, number: int) -> None:
    """Send a signal through a pidfd.

    Raises:
        Conflict: the process has ended.
        InvalidArgument: there is no such signal.
    """
    try:
        pidfd_send_signal(pidfd, number)
    except ProcessLookupError as exc:
        raise Conflict("the container has ended") from exc
    except OSError as exc:
        raise InvalidArgument(f"cannot send signal {number}: {exc.strerror}") from exc
