"""A container of another OCI runtime (runc, crun, …), run as a program by the shim. Lean.

The shim has a mount namespace of its own for it, where the root file system is mounted on the bundle's
`rootfs`: nothing shows on the host, and it goes with the shim. The runtime detaches, so the container's init
comes to the shim, which is a subreaper. Source: OCI runtime-spec, runtime.md; runc(8).
"""

from __future__ import annotations

import os
from _socket import SOCK_STREAM

from sampan import fastjson
from sampan.errors import CommandNotExecutable, CommandNotFound, InvalidArgument, SampanError, Unsupported
from sampan.kernel.cgroups import detect, open_manager
from sampan.kernel.constants import AT_FDCWD, CLONE_NEWNS, MOVE_MOUNT_F_EMPTY_PATH, MS_REC, MS_SLAVE
from sampan.kernel.files import read_file
from sampan.kernel.mountcalls import mount, move_mount
from sampan.kernel.namespaces import unshare
from sampan.kernel.sockets import accept, listen_at, receive_message
from sampan.lean import Undo
from sampan.runtime.launcher.payload import NewProcess, count_oom_kills, exec_document, kill_cgroup
from sampan.runtime.launcher.rundir import make_directory, remove_all, write_new
from sampan.runtime.launcher.stdio import open_nothing
from sampan.runtime.root_mounts import open_root_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from signal import SIGPIPE, SIGXFSZ
    from typing import NoReturn

    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.executing import Entry
    from sampan.runtime.launcher.messages import ExecStart, ShimRequest
    from sampan.runtime.launcher.stdio import Stdio
    from sampan.runtime.requests import Plank
else:
    from _signal import SIGPIPE, SIGXFSZ  # the enumerations of `signal` cost 3 ms

_STATE = "runtime"  # the other runtime's --root, in the run directory
_LOG = "runtime.log"
_CONSOLE = "console.sock"
_PID = "runtime.pid"
_CGROUP = "runtime.cgroup"  # the path of the container's cgroup
_CONSOLE_S = 10.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class ForeignPayload:
    """A container of another runtime, which is asked for what only it can do."""

    def __init__(self, request: ShimRequest) -> None:
        self._request = request
        self._program = _Program(request)

    def run(self, stdio: Stdio, report: list[Plank] | None, claimed: Callable[[], None]) -> NewProcess:
        """Let the runtime create the container and start it; report stays empty."""
        process = self._create(stdio)
        claimed()
        self._start()
        return process

    def _create(self, stdio: Stdio) -> NewProcess:
        request = self._request
        root = open_root_mount(request.root_mount) if request.root_mount is not None else -1
        _own_mounts()
        if root >= 0:
            _attach_root(root, f"{request.bundle}/rootfs")
        with Undo() as undo:
            make_directory(request.run_dir)
            undo.add(remove_all, request.run_dir)
            undo.add(self._program.delete)
            create = ("create", "--bundle", request.bundle)
            process = self._program.run_with_pid(create, stdio, terminal=request.terminal)
            _save_cgroup(request.run_dir, process.pid)
            undo.commit()
        return process

    def _start(self) -> None:
        nothing = open_nothing()
        try:
            self._program.run(("start",), nothing)
        finally:
            nothing.close_child_ends()

    def start_exec(self, request: ExecStart, stdio: Stdio) -> NewProcess:
        """Let the runtime run one more process, detached."""
        path = f"{self._request.run_dir}/exec.{os.urandom(6).hex()}.json"
        write_new(path, fastjson.dumps(exec_document(request)).encode())
        try:
            arguments = ("exec", "--detach", "--process", path)
            return self._program.run_with_pid(arguments, stdio, terminal=request.terminal)
        finally:
            os.unlink(path)

    def open_entry(self) -> None:
        """Only the runtime itself knows the way in."""

    def become_exec(self, request: ExecStart, stdio: Stdio, entry: Entry, channel_fd: int) -> NoReturn:
        """Raise Unsupported, always."""
        raise Unsupported("another runtime starts its processes itself")

    def become_checker(
        self, request: ExecStart, stdio: Stdio, channel_fd: int, shim_fd: int, *, parent: int
    ) -> NoReturn:
        """Raise Unsupported, always."""
        raise Unsupported("another runtime's container has no checker")

    def kill_all(self) -> None:
        """Send SIGKILL to every process in the cgroup."""
        kill_cgroup(self._cgroup())

    def oom_kills(self) -> int:
        """Read the cgroup's counter."""
        return count_oom_kills(self._cgroup())

    def delete(self) -> None:
        """Let the runtime remove its state and the cgroup."""
        self._program.delete()
        _remove((f"{self._request.run_dir}/{_CGROUP}",))

    def _cgroup(self) -> CgroupManager:
        path = read_file(f"{self._request.run_dir}/{_CGROUP}").decode("utf-8", "surrogateescape")
        return open_manager(detect(), path)


class _Program:
    """The other runtime's command line, for one container."""

    def __init__(self, request: ShimRequest) -> None:
        assert request.runtime is not None
        self.run_dir = request.run_dir
        self._id = request.id
        self._log = f"{request.run_dir}/{_LOG}"
        path, *options = request.runtime
        self._command = [path, *options, "--root", f"{request.run_dir}/{_STATE}"]
        self._command += ["--log", self._log, "--log-format", "json"]

    def run_with_pid(self, arguments: Sequence[str], stdio: Stdio, *, terminal: bool) -> NewProcess:
        """Run a command that makes a process, and return that."""
        pid_file = f"{self.run_dir}/{_PID}"
        more = ["--pid-file", pid_file]
        directory = os.open(self.run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        console = listen_at(directory, _CONSOLE, SOCK_STREAM) if terminal else None
        if terminal:  # its own way, by our descriptor: a socket path may have 107 bytes only
            more += ["--console-socket", f"/proc/{os.getpid()}/fd/{directory}/{_CONSOLE}"]
        try:
            self.run((*arguments, *more), stdio)
            master = -1 if console is None else _receive_console(console)
            return NewProcess(pid=int(read_file(pid_file)), console_master=master)
        finally:
            if console is not None:
                console.close()
            _remove((f"{self.run_dir}/{_CONSOLE}", pid_file))
            os.close(directory)

    def run(self, arguments: Sequence[str], stdio: Stdio) -> None:
        """Run a command with the container's streams as its own.

        Raises:
            SampanError: what it logged last.
        """
        _remove((self._log,))
        code = _run([*self._command, *arguments, self._id], stdio.child)
        if code:
            raise _explain(self._last_error(), f"{self._command[0]} {arguments[0]} failed with code {code}")

    def delete(self) -> None:
        """Remove the container by force, and our files about it."""
        nothing = open_nothing()
        try:
            self.run(("delete", "--force"), nothing)
        finally:
            nothing.close_child_ends()
        _remove((self._log,))
        try:
            os.rmdir(f"{self.run_dir}/{_STATE}")
        except OSError:
            pass  # the runtime left something there

    def _last_error(self) -> str:
        try:
            lines = read_file(self._log).splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            try:
                entry = fastjson.loads(line)
            except InvalidArgument:
                continue
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                return str(entry.get("msg", ""))
        return ""


def _run(command: list[str], stdio: tuple[int, int, int]) -> int:
    """Run a program by its path with these streams, wait, and return its exit code."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)]
    try:
        pid = os.posix_spawn(
            command[0], command, _ENVIRONMENT, file_actions=actions, setsigdef=(SIGPIPE, SIGXFSZ)
        )
    except OSError as exc:
        raise SampanError(f"cannot run the runtime {command[0]}: {exc.strerror}") from exc
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _explain(message: str, otherwise: str) -> SampanError:
    """Return the error that a runtime's text means; the words are runc's and crun's."""
    if "executable file not found" in message or "executable file `" in message:
        return CommandNotFound(message)
    if "no such file or directory" in message and "exec" in message:
        return CommandNotFound(message)
    if "permission denied" in message and "exec" in message:
        return CommandNotExecutable(message)
    return SampanError(message or otherwise)


def _receive_console(listener: socket) -> int:
    """Return the terminal's master that the runtime sends."""
    listener.settimeout(_CONSOLE_S)
    connection = accept(listener)
    try:
        _, fds = receive_message(connection, max_fds=1)
    finally:
        connection.close()
    if len(fds) != 1:
        raise SampanError("the runtime did not send the container's terminal")
    return fds[0]


def _own_mounts() -> None:
    """Leave the host's mount namespace; what is mounted there later still comes in."""
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_SLAVE, "")


def _attach_root(fd: int, target: str) -> None:
    try:
        move_mount(fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(fd)


def _save_cgroup(run_dir: str, pid: int) -> None:
    """Keep a process's cgroup path in the tree that limits memory: `4:memory:/path`, on v2 `0::/path`."""
    found = b"/"
    for line in read_file(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(b":", 2)
        if b"memory" in controllers.split(b","):
            found = path
            break
        if not controllers:
            found = path
    write_new(f"{run_dir}/{_CGROUP}", found)


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
