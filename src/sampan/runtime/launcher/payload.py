"""What a shim needs of a container, whichever OCI runtime made it. Lean.

`OwnPayload` is sampan's own runtime; `foreign.py` is another one, as a program. What makes processes runs in
a worker (worker.py), the rest in the shim when the container has ended.
"""

from __future__ import annotations

import os

from sampan.errors import NotFound, Unsupported
from sampan.lean import record, replace
from sampan.runtime import executing, lifecycle
from sampan.runtime.launcher.checker import serve_checks
from sampan.runtime.requests import CreateRequest, ExecRequest
from sampan.spec.config import parse_process
from sampan.spec.runtime import ConsoleSize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.executing import Entry
    from sampan.runtime.launcher.messages import ExecStart, ShimRequest
    from sampan.runtime.launcher.stdio import Stdio
    from sampan.runtime.requests import Plank

    class Payload(Protocol):
        """A container by its request; every method may be called in a fork of the shim."""

        def run(self, stdio: Stdio, report: list[Plank] | None, claimed: Callable[[], None]) -> NewProcess:
            """Create and start the container; init becomes the shim's child. SampanError: nothing is left.

            claimed is called as soon as the id is this container's; the run directory is there by then.
            """

        def start_exec(self, request: ExecStart, stdio: Stdio) -> NewProcess:
            """Run a further process; it becomes the shim's child."""

        def open_entry(self) -> Entry | None:
            """Return where a fork of the shim has to be born to `become_exec`; None where it cannot."""

        def become_exec(self, request: ExecStart, stdio: Stdio, entry: Entry, channel_fd: int) -> NoReturn:
            """Become a further process; channel_fd as of `executing.become_process`."""

        def become_checker(
            self, request: ExecStart, stdio: Stdio, channel_fd: int, shim_fd: int, *, parent: int
        ) -> NoReturn:
            """Become the container's checker (checker.py), parent's child; SampanError: it cannot."""

        def kill_all(self) -> None:
            """Send SIGKILL to every process of the container; none is fine."""

        def oom_kills(self) -> int:
            """Return how many processes of the container the kernel killed for memory."""

        def delete(self) -> None:
            """Kill what still runs, remove cgroup and runtime state; OSError or SampanError: try again."""


@record
class NewProcess:
    """A process that the runtime made: console_master is its terminal's descriptor, -1 without one."""

    pid: int
    console_master: int


class OwnPayload:
    """A container of sampan's own runtime, called from a worker."""

    def __init__(self, request: ShimRequest, *, for_parent: bool = True) -> None:
        """for_parent: init becomes a child of the caller's parent, else of the caller."""
        self._request = request
        self._for_parent = for_parent
        self._state_root, _, self._name = request.run_dir.rpartition("/")

    def run(self, stdio: Stdio, report: list[Plank] | None, claimed: Callable[[], None]) -> NewProcess:
        """Create and start the container."""
        return self._create(replace(self._wanted(stdio, report), start=True, claimed=claimed))

    def create(self, stdio: Stdio) -> NewProcess:
        """Create the container, and leave it to be started."""
        return self._create(self._wanted(stdio, None))

    def _create(self, wanted: CreateRequest) -> NewProcess:
        container = lifecycle.create_container(wanted)
        os.close(container.pidfd)  # the shim is the parent: until it reaps init, the pid is init's own
        return NewProcess(pid=container.pid, console_master=container.console_master)

    def plan(self, stdio: Stdio) -> None:
        """Decide all that `run` does, and do nothing."""
        lifecycle.plan_container(self._wanted(stdio, None))

    def _wanted(self, stdio: Stdio, report: list[Plank] | None) -> CreateRequest:
        request = self._request
        return CreateRequest(
            id=self._name,
            bundle=request.bundle,
            state_root=self._state_root,
            stdio=stdio.child,
            root_mount=request.root_mount,
            console_size=_console_size(request.console_size),
            die_with_parent=True,
            for_parent=self._for_parent,
            init=request.init,
            report=report,
            seccomp_cache=request.seccomp_cache,
        )

    def start(self) -> None:
        """Let the program of a created container run."""
        lifecycle.start_container(self._state_root, self._name)

    def start_exec(self, request: ExecStart, stdio: Stdio) -> NewProcess:
        """Join the container with one more process."""
        started = lifecycle.exec_process(self._exec_request(request, stdio))
        os.close(started.pidfd)
        return NewProcess(pid=started.pid, console_master=started.console_master)

    def open_entry(self) -> Entry | None:
        """Open init and the cgroup; only root may enter without joining a user namespace first."""
        return executing.open_entry(self._state_root, self._name) if os.geteuid() == 0 else None

    def become_exec(self, request: ExecStart, stdio: Stdio, entry: Entry, channel_fd: int) -> NoReturn:
        """Join the container as one more process."""
        executing.become_process(self._exec_request(request, stdio), entry, channel_fd)

    def become_checker(
        self, request: ExecStart, stdio: Stdio, channel_fd: int, shim_fd: int, *, parent: int
    ) -> NoReturn:
        """Join the container, and run its check from then on."""
        if os.geteuid() != 0:
            raise Unsupported("a checker needs a shim that is root's")
        executing.become_checker(
            self._exec_request(request, stdio),
            channel_fd,
            shim_fd,
            lambda child, program: serve_checks(child, program, request),
            parent=parent,
        )

    def _exec_request(self, request: ExecStart, stdio: Stdio) -> ExecRequest:
        return ExecRequest(
            id=self._name,
            state_root=self._state_root,
            process=parse_process(exec_document(request)),
            stdio=stdio.child,
            die_with_parent=True,
            for_parent=self._for_parent,
        )

    def kill_all(self) -> None:
        """Send SIGKILL to every process in the cgroup."""
        kill_cgroup(self._cgroup())

    def oom_kills(self) -> int:
        """Read the cgroup's counter."""
        return count_oom_kills(self._cgroup())

    def delete(self) -> None:
        """Remove what the runtime made."""
        try:
            lifecycle.delete_container(self._state_root, self._name, force=True)
        except NotFound:
            pass

    def _cgroup(self) -> CgroupManager:
        return lifecycle.load_state(self._state_root, self._name).cgroup()


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


def _console_size(size: tuple[int, int] | None) -> ConsoleSize | None:
    return None if size is None else ConsoleSize(height=size[0], width=size[1])
