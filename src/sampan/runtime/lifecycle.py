"""The runtime's public face: what the command `sampan-runtime`, the shim and nobody else call. Lean.

One path for two doors: whoever creates a container is the parent of its init. The steps and the messages
between parent and child are charted in docs/runtime-protocol.md. Everything a function makes, it undoes when
it fails; what is left after kill -9 of the caller is found and removed by `delete_container`.
"""

from __future__ import annotations

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from sampan.fastjson import JsonValue
    from sampan.spec.runtime import ConsoleSize, LinuxResources
    from sampan.spec.runtime import Process as ProcessSpec

    Status = Literal["creating", "created", "running", "paused", "stopped"]


@record
class RootMount:
    """An overlay as root file system: the parent makes it detached, the child moves it onto `root.path`.

    Nothing of it shows on the host. lower is lowest first. upper and work are "" for a read-only overlay.
    """

    lower: tuple[str, ...]
    upper: str
    work: str


@record
class CreateRequest:
    """One container to create from a bundle.

    stdio: the three descriptors the program gets as 0, 1, 2 (not used for the program with a terminal).
    console_socket: a connected unix stream socket that is sent the terminal's master; -1: Container has it.
    keep_fds: descriptors the program gets as 3, 4, … in this order.
    pivot: False uses a moved mount and chroot where pivot_root cannot work (root on a ramdisk).
    keyring: False leaves the caller's session keyring.
    report: a list that gets one `Plank` for each thing done, in order; None costs nothing.
    console_size wins over process.consoleSize.
    """

    id: str
    bundle: str
    state_root: str
    stdio: tuple[int, int, int] = (0, 1, 2)
    console_socket: int = -1
    keep_fds: tuple[int, ...] = ()
    root_mount: RootMount | None = None
    pivot: bool = True
    keyring: bool = True
    report: list[Plank] | None = None
    console_size: ConsoleSize | None = None
    pid_file: str = ""
    systemd_cgroup: bool = False


@record
class ExecRequest:
    """One more process for a running container; cgroup is a path below the container's own."""

    id: str
    state_root: str
    process: ProcessSpec
    stdio: tuple[int, int, int] = (0, 1, 2)
    console_socket: int = -1
    keep_fds: tuple[int, ...] = ()
    cgroup: str = ""
    report: list[Plank] | None = None
    ignore_paused: bool = False
    pid_file: str = ""


@record
class Plank:
    """One line of `sampan explain`: plank is `sees`, `may`, `is` or `process`."""

    plank: str
    text: str
    microseconds: int


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
    """Return the cgroup's usage, the shape of `data` in runc's `events --stats`. Raises NotFound, Conflict."""
    raise NotImplementedError
