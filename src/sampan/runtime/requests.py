"""What callers ask of the runtime, as records. Lean."""

from __future__ import annotations

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.spec.runtime import ConsoleSize
    from sampan.spec.runtime import Process as ProcessSpec


@record
class RootMount:
    """An overlay as root file system: the parent makes it detached, the child moves it into its own root.

    Nothing of it shows on the host. lower is lowest first. upper and work are "" for a read-only overlay.
    options: of overlayfs, "key" or "key=value". driver: overlay2, fuse-overlayfs, or vfs, whose upper is the
    whole tree.
    """

    lower: tuple[str, ...]
    upper: str
    work: str
    options: tuple[str, ...] = ()
    driver: str = "overlay2"


@record
class Plank:
    """One line of `sampan explain`: plank is `sees`, `may`, `is` or `process`."""

    plank: str
    text: str
    microseconds: int


@record
class CreateRequest:
    """One container to create from a bundle.

    stdio: the three descriptors the program gets as 0, 1, 2 (not used for a program with a terminal).
    console_socket: a connected unix stream socket that is sent the terminal's master; -1: Container has it.
    console_size wins over process.consoleSize.
    keep_fds: descriptors the program gets as 3, 4, … in this order. extra_env: further NAME=value entries.
    config_file: in place of config.json in the bundle, "" for that.
    pivot: False uses chroot where pivot_root cannot work (root on a ramdisk).
    keyring: False leaves the caller's session keyring.
    die_with_parent: init gets SIGKILL when the thread that created it ends, for as long as it lives.
    for_parent: init becomes a child of the caller's parent, which reaps it (and with which it dies).
    init: the program runs as a child of a built-in PID 1 that reaps and passes signals on (decision 0011).
    report: a list that gets one Plank for each thing done, in order; None costs nothing.
    start: let the program run at once; the container is never `created`, and needs no fifo.
    claimed: called once the id is this container's, before anything else of it is made.
    pid_file: a path to write the pid to, "" for none. cgroup_driver: of `kernel.cgroups.open_manager`.
    seccomp_cache: a folder for compiled filters, "" for the one below the default data root.
    """

    id: str
    bundle: str
    state_root: str
    stdio: tuple[int, int, int] = (0, 1, 2)
    console_socket: int = -1
    console_size: ConsoleSize | None = None
    keep_fds: tuple[int, ...] = ()
    extra_env: tuple[str, ...] = ()
    config_file: str = ""
    root_mount: RootMount | None = None
    pivot: bool = True
    keyring: bool = True
    die_with_parent: bool = False
    for_parent: bool = False
    init: bool = False
    report: list[Plank] | None = None
    start: bool = False
    claimed: Callable[[], None] | None = None
    pid_file: str = ""
    cgroup_driver: str = "cgroupfs"
    seccomp_cache: str = ""


@record
class ExecRequest:
    """One more process for a running container.

    cgroup is a path below the container's own cgroup, "" for that itself. The others are as of CreateRequest;
    the process's consoleSize is the size of its terminal.
    """

    id: str
    state_root: str
    process: ProcessSpec
    stdio: tuple[int, int, int] = (0, 1, 2)
    console_socket: int = -1
    keep_fds: tuple[int, ...] = ()
    cgroup: str = ""
    ignore_paused: bool = False
    die_with_parent: bool = False
    for_parent: bool = False
    report: list[Plank] | None = None
    pid_file: str = ""
