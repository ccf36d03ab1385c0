"""What is known about a container between calls: its state.json, and what the kernel says now. Lean.

The file says what was made (docs/runtime-protocol.md, "Files"); whether it runs is asked of the kernel every
time, so a record cannot lie after a crash.
"""

from __future__ import annotations

import errno
import os

from sampan import fastjson
from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.kernel import process
from sampan.kernel.cgroups import detect, open_manager
from sampan.spec.runtime import OCI_VERSION, Hooks, OciState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups import CgroupManager

    Status = Literal["creating", "created", "running", "paused", "stopped"]

FIFO = "exec.fifo"
NEW_FIFO = "exec.fifo.new"  # its name until the container is ready to be started
START_ERROR = "start.error"
SECCOMP = "seccomp.bpf"
INIT = "init.pid"
_FILE = "state.json"
_HIDDEN = ".creating-"  # no id begins so: `check_id`
_ID_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")


def check_id(id: str) -> str:
    """Return id if it can name a container: letters of runc's `^[\\w+-\\.]+$`, as a single file name.

    Raises:
        InvalidArgument: it cannot.
    """
    if not id or len(id) > 1024 or not _ID_LETTERS.issuperset(id) or id[0] == ".":
        raise InvalidArgument(
            f"container id {id!r} is invalid",
            hint="use letters, digits, and the signs _ + - ., no dot in front",
        )
    return id


class State:
    """One container: what its state.json says, and by `status` what the kernel says about it now.

    document holds the whole file; the attributes are the parts that callers read. pid is 0 without an init.
    """

    def __init__(self, state_root: str, document: dict[str, JsonValue], pid: int, start_ticks: int) -> None:
        self.state_root = state_root
        self.document = document
        self.id = _text(document, "id")
        self.bundle = _text(document, "bundle")
        self.rootfs = _text(document, "rootfs")
        self.created = _text(document, "created")
        self.owner_uid = _number(document, "owner")
        self.pid = pid
        self.start_ticks = start_ticks
        self.creator_pid = _number(document, "creator_pid")
        self.creator_ticks = _number(document, "creator_ticks")
        self.cgroup_path = _text(document, "cgroup_path")
        self.cgroup_driver = _text(document, "cgroup_driver")
        annotations = document.get("annotations")
        self.annotations = {
            key: value
            for key, value in (annotations if isinstance(annotations, dict) else {}).items()
            if isinstance(value, str)
        }

    @property
    def directory(self) -> str:
        """The directory of this container below the state root."""
        return f"{self.state_root}/{self.id}"

    def open_init(self) -> int:
        """Return a pidfd of init, never of a stranger who has its number now.

        Raises:
            OSError: ESRCH, it has ended.
        """
        if not self.pid:
            raise OSError(errno.ESRCH, "the container has no process")
        pidfd = process.open_same_process(self.pid, self.start_ticks)
        if is_zombie(self.pid):
            os.close(pidfd)
            raise OSError(errno.ESRCH, "init has ended")
        return pidfd

    def status(self) -> Status:
        """Ask the kernel (docs/runtime-protocol.md, "Status")."""
        if not self.pid:
            return "creating" if _is_alive(self.creator_pid, self.creator_ticks) else "stopped"
        if not _is_alive(self.pid, self.start_ticks):
            return "stopped"
        if _has_reader(f"{self.directory}/{FIFO}"):
            return "created"
        if os.path.exists(f"{self.directory}/{NEW_FIFO}"):
            return "creating"
        return "paused" if self.frozen() else "running"

    def frozen(self) -> bool:
        """Tell whether the container's cgroup is frozen."""
        if not self.cgroup_path:
            return False
        manager = self.cgroup()
        try:
            return manager.frozen()
        finally:
            manager.close()

    def cgroup(self) -> CgroupManager:
        """Return the manager of the container's cgroup, with nothing opened yet; the caller closes it."""
        return open_manager(detect(), self.cgroup_path, self.cgroup_driver or "cgroupfs")

    def hooks(self) -> Hooks:
        """Return the hooks as they were when the container was created."""
        raw = self.document.get("hooks")
        if not raw:
            return Hooks()
        from sampan.spec.config import parse_hooks  # most containers have none

        return parse_hooks(raw)

    def oci(self, status: str | None = None) -> OciState:
        """Return the state document of the specification; a stopped container has pid 0."""
        status = status or self.status()
        return OciState(
            oci_version=OCI_VERSION,
            id=self.id,
            status=status,
            pid=0 if status == "stopped" else self.pid,
            bundle=self.bundle,
            annotations=self.annotations,
        )


def make_state_directory(state_root: str, id: str, document: dict[str, JsonValue]) -> None:
    """Make a container's directory with its state.json, at once: under its name it is never without.

    Not synced: after a crash of the machine its containers are gone, whatever a file says. The file is never
    written again (some file systems let a rename over a file wait for the disk); what comes later is in
    `init.pid`.

    Raises:
        Conflict: the id is taken.
    """
    os.makedirs(state_root, mode=0o700, exist_ok=True)
    hidden = _hidden(state_root, id, os.getpid())
    os.mkdir(hidden, 0o700)
    try:
        fd = os.open(f"{hidden}/{_FILE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, fastjson.dumps(document).encode())
        finally:
            os.close(fd)
        os.rename(hidden, f"{state_root}/{id}")  # takes the place of nothing, or of an empty folder
    except OSError as exc:
        _remove_hidden(hidden)
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        text = f"cannot create container {id!r}: container with given ID already exists"
        raise Conflict(text, hint="delete it, or choose another id") from exc


def _hidden(state_root: str, id: str, pid: int) -> str:
    return f"{state_root}/{_HIDDEN}{pid}.{id}"


def _remove_hidden(directory: str) -> None:
    try:
        os.unlink(f"{directory}/{_FILE}")
    except FileNotFoundError:
        pass
    os.rmdir(directory)


def sweep_hidden(state_root: str, id: str) -> None:
    """Remove what creators of this container that were killed before it had its name left behind."""
    try:
        names = os.listdir(state_root)
    except FileNotFoundError:
        return
    for name in names:
        pid, _, owner = name.removeprefix(_HIDDEN).partition(".")
        if name.startswith(_HIDDEN) and owner == id and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            _remove_hidden(f"{state_root}/{name}")


def save_init(state_root: str, id: str, pid: int, ticks: int) -> None:
    """Write who init is: `<pid> <start time>`, in a file of its own, in one write."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{state_root}/{id}/{INIT}", flags, 0o600)
    try:
        os.write(fd, b"%d %d" % (pid, ticks))
    finally:
        os.close(fd)


def _load_init(directory: str) -> tuple[int, int]:
    """Return (pid, start time) of init, (0, 0) while there is none."""
    try:
        with open(f"{directory}/{INIT}", "rb") as file:
            pid, ticks = map(int, file.read().split())
    except (FileNotFoundError, ValueError):
        return 0, 0
    return pid, ticks


def load_state(state_root: str, id: str) -> State:
    """Read a container's state.

    Raises:
        InvalidArgument: id can be none.
        NotFound: there is no such container.
        SampanError: its record is broken.
    """
    check_id(id)
    try:
        with open(f"{state_root}/{id}/{_FILE}", "rb") as file:
            raw = file.read()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"cannot load container {id!r}: container does not exist") from exc
    try:
        document = fastjson.loads(raw)
        if not isinstance(document, dict):
            raise InvalidArgument("not an object")
        return State(state_root, document, *_load_init(f"{state_root}/{id}"))
    except InvalidArgument as exc:
        raise SampanError(
            f"the state of container {id!r} cannot be read: {exc}",
            hint=f"remove {state_root}/{id} once nothing of it runs",
        ) from exc


def list_states(state_root: str) -> list[State]:
    """Return every container below state_root, by id; a broken record is left out."""
    try:
        names = sorted(os.listdir(state_root))
    except FileNotFoundError:
        return []
    states = []
    for name in names:
        try:
            states.append(load_state(state_root, name))
        except SampanError:
            continue  # removed meanwhile, or no container's directory
    return states


def require_status(state: State, allowed: tuple[str, ...], action: str) -> Status:
    """Return the status if the action is allowed in it.

    Raises:
        Conflict: it is not.
    """
    status = state.status()
    if status not in allowed:
        # containerd's shim looks for runc's words for a stopped one (containerd/go-runc, checkKillError)
        said = "container not running" if status == "stopped" else f"it is {status}"
        raise Conflict(f"cannot {action} container {state.id!r}: {said}")
    return status


def is_zombie(pid: int) -> bool:
    """Tell whether a process has ended but was not waited for, or is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] == b"Z"


def _is_alive(pid: int, ticks: int) -> bool:
    try:
        return bool(pid) and process.start_ticks(pid) == ticks and not is_zombie(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False


def _has_reader(path: str) -> bool:
    """Tell whether somebody holds a FIFO open for reading; it is neither read nor written."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        if exc.errno not in (errno.ENXIO, errno.ENOENT):
            raise
        return False
    return True


def _text(document: dict[str, JsonValue], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise InvalidArgument(f"{key} is not a string")
    return value


def _number(document: dict[str, JsonValue], key: str) -> int:
    value = document.get(key)
    if not isinstance(value, int):
        raise InvalidArgument(f"{key} is not a number")
    return value
