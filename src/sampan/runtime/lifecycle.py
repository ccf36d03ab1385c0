"""The runtime's public face: what the command `sampan-runtime`, the shim and nobody else call. Lean.

One path for two doors: whoever creates a container is the parent of its init. The steps and the messages
between parent and child are charted in docs/runtime-protocol.md. Everything a function makes, it undoes when
it fails; what is left after kill -9 of the caller is found and removed by `delete_container`.
"""

from __future__ import annotations

from sampan.runtime.requests import CreateRequest, ExecRequest, Plank, RootMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from sampan.fastjson import JsonValue
    from sampan.spec.runtime import LinuxResources

    Status = Literal["creating", "created", "running", "paused", "stopped"]


__all__ = ["Container", "CreateRequest", "ExecRequest", "Plank", "Process", "RootMount", "State"]


class Container:
    """A created container, child of the calling process. `close` gives up the descriptors, not the container.

    console_master is the terminal's master side, -1 without one or when it was sent to the console socket.
    """

    def __init__(
        self, id: str, state_root: str, pid: int, pidfd: int, start_ticks: int, console_master: int
    ) -> None:
        self.id = id
        self.state_root = state_root
        self.pid = pid
        self.pidfd = pidfd
        self.start_ticks = start_ticks
        self.console_master = console_master

    def start(self) -> None:
        """Let the program run; return once execve has worked.

        Raises:
            CommandNotFound, CommandNotExecutable: the program cannot be run.
            Conflict: it was started before, or has ended.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close pidfd and console_master."""
        raise NotImplementedError


class Process:
    """A process that joined a container and runs its program; a child of the calling process."""

    def __init__(self, pid: int, pidfd: int, console_master: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.console_master = console_master


class State:
    """What `<state_root>/<id>/state.json` says, and what the kernel says about it now."""

    id: str
    bundle: str
    pid: int
    start_ticks: int
    created: str
    rootfs: str
    owner: str
    annotations: dict[str, str]
    cgroup_paths: dict[str, str]

    def status(self) -> Status:
        """Ask the kernel: pid with start time, exec.fifo, freezer."""
        raise NotImplementedError


def create_container(request: CreateRequest) -> Container:
    """Make namespaces, cgroup, mounts: everything up to execve. The child waits for `start`.

    Raises:
        InvalidArgument, Unsupported: the bundle; the message names the field.
        Conflict: the id is taken.
        CommandNotFound, CommandNotExecutable: the program is not there, or not runnable.
        SampanError: a step of the child failed; the message names it.
    """
    raise NotImplementedError


def start_container(state_root: str, id: str) -> None:
    """Start a created container from any process; errors are those of `Container.start`."""
    raise NotImplementedError


def exec_process(request: ExecRequest) -> Process:
    """Run one more program in a container; return once execve has worked.

    Raises:
        NotFound, Conflict: the container; it must be running (created counts) and not paused.
        CommandNotFound, CommandNotExecutable, SampanError: as for `create_container`.
    """
    raise NotImplementedError


def load_state(state_root: str, id: str) -> State:
    """Read a container's state.

    Raises:
        NotFound: there is no such container.
    """
    raise NotImplementedError


def list_states(state_root: str) -> list[State]:
    """Return every container below state_root, by id; what is half made counts, what is no container not."""
    raise NotImplementedError


def kill_container(state_root: str, id: str, signal: int, *, everyone: bool = False) -> None:
    """Send a signal to init, or to every process inside; never to a stranger with a reused pid.

    Raises:
        NotFound; Conflict: it is not running.
    """
    raise NotImplementedError


def delete_container(state_root: str, id: str, *, force: bool = False) -> None:
    """Remove a stopped container's cgroup and state and run its poststop hooks; force kills it first.

    Raises:
        NotFound; Conflict: it still runs and force is not set.
    """
    raise NotImplementedError


def pause_container(state_root: str, id: str) -> None:
    """Freeze every process of a running container. Raises NotFound, Conflict."""
    raise NotImplementedError


def resume_container(state_root: str, id: str) -> None:
    """Let a paused container go on. Raises NotFound, Conflict."""
    raise NotImplementedError


def update_container(state_root: str, id: str, resources: LinuxResources) -> None:
    """Write new limits; absent ones stay. Raises NotFound, Conflict, InvalidArgument."""
    raise NotImplementedError


def container_processes(state_root: str, id: str) -> Sequence[int]:
    """Return the host pids of everything inside. Raises NotFound."""
    raise NotImplementedError


def container_stats(state_root: str, id: str) -> dict[str, JsonValue]:
    """Return the cgroup's usage, shaped as `data` in runc's `events --stats`. Raises NotFound, Conflict."""
    raise NotImplementedError
