"""sampand's door to the launcher and to the shims (docs/shim.md). Synchronous; any thread may call.

Each request to a shim uses a connection of its own, so there is nothing to lock. Waits are bounded:
a launcher or shim that does not answer in time gives Unavailable, and the caller decides.
"""

from __future__ import annotations

import os
import select
from _socket import SOCK_SEQPACKET

from sampan import fastjson
from sampan.errors import Conflict, InvalidArgument, NotFound, Unavailable
from sampan.kernel.files import read_file
from sampan.kernel.process import pidfd_send_signal
from sampan.kernel.sockets import close_all, connect_at, seqpacket_pair
from sampan.runtime.launcher.exit_record import read_exit_record
from sampan.runtime.launcher.messages import (
    NETSPACE,
    ROOT,
    AttachRequest,
    Detached,
    ExecExited,
    ExecStart,
    Exited,
    ExitRecord,
    LogSettings,
    LogTrouble,
    Lost,
    ShimRequest,
    ViewRequest,
    pack,
    raise_error,
    unpack_event,
)
from sampan.runtime.launcher.probe_call import CheckerCall, ProbeCall, ProbeEnded, ProbeStarted
from sampan.runtime.launcher.rundir import REPORT, SOCKET
from sampan.runtime.launcher.transport import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from sampan.fastjson import JsonValue
    from sampan.runtime.launcher.messages import Document, Event

    class _Process(Protocol):
        """The part of subprocess.Popen that is used here."""

        pid: int

        def poll(self) -> int | None:
            """Return the exit code, None while it runs."""

        def wait(self) -> int:
            """Wait for the end."""


__all__ = [
    "AttachRequest",
    "CheckerCall",
    "Detached",
    "ExecExited",
    "ExecStart",
    "ExitRecord",
    "Exited",
    "Launcher",
    "LogSettings",
    "LogTrouble",
    "Lost",
    "ProbeCall",
    "ProbeEnded",
    "ProbeStarted",
    "ShimHandle",
    "ShimRequest",
    "ViewRequest",
    "connect_shim",
    "read_exit_record",
]

_SIGKILL = 9
_ANSWER_S = 10.0  # a shim answers at once unless it is starting an exec
_SPAWN_S = 20.0
_VIEW_S = 30.0  # a file system of another machine may be slow to mount on


class _Gone(Unavailable):
    """The other end closed the connection instead of answering."""


class Launcher:
    """The launcher process. `fd` becomes readable when it has died; then `close` and `spawn` another."""

    def __init__(self, sock: socket, process: _Process) -> None:
        self._sock = sock
        self._process = process
        self.fd = sock.fileno()
        self.pid = process.pid

    @classmethod
    def spawn(cls, *, run_root: str, rehearsal: str = "") -> Launcher:
        """Start the launcher program, on an interpreter that no container can write to.

        rehearsal: a file with the packed ShimRequest to rehearse with (docs/shim.md), "" for none.

        Raises:
            Unavailable: it did not come up.
        """
        from sampan.runtime.launcher.spawn import start_program

        mine, yours = seqpacket_pair()
        try:
            process = start_program(yours.fileno(), run_root=run_root, rehearsal=rehearsal)
        except BaseException:
            mine.close()
            raise
        finally:
            yours.close()
        launcher = cls(mine, process)
        try:
            _receive_within(mine, _SPAWN_S, "the launcher")
        except BaseException:
            launcher.close()
            raise
        return launcher

    def alive(self) -> bool:
        """Return whether the launcher still holds its end of the socket."""
        return self._process.poll() is None and not _readable(self._sock, 0)

    def ends_within(self, seconds: float) -> bool:
        """Wait so long for the launcher's end; return whether it came."""
        return _readable(self._sock, seconds) or self._process.poll() is not None

    def start(
        self, request: ShimRequest, attaches: Sequence[AttachRequest] = (), *, timeout_s: float = 120.0
    ) -> ShimHandle:
        """Create and start a container in a new shim; attaches get every byte from the first on.

        Raises:
            CommandNotFound, CommandNotExecutable, InvalidArgument, SampanError: what the runtime said;
                nothing is left behind.
            Unavailable: launcher or shim ended or did not answer within timeout_s.
        """
        mine, yours = seqpacket_pair()
        document = {
            "op": "start",
            "request": pack(request),
            "attaches": [pack(attach) for attach in attaches],
        }
        try:
            try:
                send(self._sock, document, [yours.fileno(), *(attach.fd for attach in attaches)])
            except OSError as exc:
                raise Unavailable(
                    f"cannot start {request.id}: the launcher is gone ({exc.strerror})"
                ) from exc
            finally:
                yours.close()
            started = _receive_within(mine, timeout_s, f"the shim of {request.id}")
        except BaseException:
            mine.close()
            raise
        return ShimHandle(mine, request.run_dir, started)

    def open_view(
        self, request: ViewRequest, namespace_fd: int = -1, *, timeout_s: float = _VIEW_S
    ) -> list[int]:
        """Return descriptors of a container's root (docs/files.md); the caller closes them.

        The root (O_PATH, or a detached mount of the one in namespace_fd), then the mount namespace that was
        made for it.

        Raises:
            SampanError: the root cannot be put together.
            Unavailable: the launcher is gone, or gave no answer within timeout_s.
        """
        fds = [namespace_fd] if namespace_fd >= 0 else []
        return self._ask({"op": ROOT, "view": pack(request)}, fds, timeout_s=timeout_s)

    def make_netspaces(
        self, count: int, *, sysctls: Mapping[str, str] | None = None, timeout_s: float = _ANSWER_S
    ) -> list[int]:
        """Return descriptors of new network namespaces: of each it, and of a netlink socket in it.

        sysctls: by path below /proc/sys.

        Raises:
            OSError, SampanError: they cannot be made. Unavailable: as for `open_view`.
        """
        return self._ask(
            {"op": NETSPACE, "count": count, "sysctls": {**(sysctls or {})}}, [], timeout_s=timeout_s
        )

    def enter_netspace(
        self, fd: int, *, sysctls: Mapping[str, str] | None = None, timeout_s: float = _ANSWER_S
    ) -> list[int]:
        """Return a duplicate of a network namespace's descriptor, and a netlink socket in it; set sysctls."""
        return self._ask(
            {"op": NETSPACE, "count": 0, "sysctls": {**(sysctls or {})}}, [fd], timeout_s=timeout_s
        )

    def _ask(self, document: Document, fds: Sequence[int], *, timeout_s: float) -> list[int]:
        mine, yours = seqpacket_pair()
        try:
            try:
                send(self._sock, document, [yours.fileno(), *fds])
            except OSError as exc:
                raise Unavailable(f"the launcher is gone ({exc.strerror})") from exc
            finally:
                yours.close()
            return _receive_with_fds(mine, timeout_s, "the launcher")[1]
        finally:
            mine.close()

    def close(self) -> None:
        """End the launcher; shims live on."""
        self._sock.close()
        self._process.wait()


class ShimHandle:
    """One running container's shim. `fd` is readable when `read_events` has something to return."""

    def __init__(self, sock: socket, run_dir: str, started: Mapping[str, JsonValue]) -> None:
        self._sock = sock
        self.fd = sock.fileno()
        self.run_dir = run_dir
        self.pid = _int(started, "pid")  # of init, in sampand's pid namespace
        self.start_ticks = _int(
            started, "start_ticks"
        )  # pid and start_ticks together name a process for good
        self.shim_pid = _int(started, "shim_pid")
        self.started_at_ns = _int(started, "started_at_ns")

    def read_events(self) -> list[Event]:
        """Return the events that wait, without waiting; the last one is `Lost` when the shim has gone."""
        events: list[Event] = []
        while _readable(self._sock, 0):
            try:
                packet = receive(self._sock)
            except OSError:
                packet = None
            if packet is None:
                events.append(Lost())
                break
            document, fds = packet
            close_all(fds)
            events.append(unpack_event(document))
        return events

    def acknowledge(self, event: ExecExited) -> None:
        """Say that an exec's exit code is recorded: only then, or after 1 s, its stream is closed."""
        try:
            self._ask({"op": "ack", "exec_id": event.exec_id})
        except (NotFound, Unavailable):
            pass  # the shim is gone, and the stream with it

    def attach(self, request: AttachRequest) -> None:
        """Join a client to the container's streams; output comes from now on.

        Raises:
            Conflict: the container has ended.
        """
        self._ask({"op": "attach", "attach": pack(request)}, [request.fd])

    def hold(self, request: AttachRequest) -> HeldClient:
        """Join a client behind the log: write it the log up to `until_ns`, then `join`.

        Raises:
            Conflict: the container has ended, and its log is complete.
        """
        sock = _connect(self.run_dir)
        try:
            document = {**pack(request), "hold": True}
            answer = _ask(sock, {"op": "attach", "attach": document}, [request.fd], _ANSWER_S)
            return HeldClient(sock, request.attach_id, _int(answer, "until_ns"))
        except BaseException:
            sock.close()
            raise

    def exec(self, request: ExecStart, *, timeout_s: float = 60.0) -> int:
        """Run a further process and return its pid once execve has worked.

        Raises:
            CommandNotFound, CommandNotExecutable, InvalidArgument, SampanError: what the runtime said.
            Conflict: the container has ended, or exec_id is in use.
        """
        fds = [] if request.attach is None else [request.attach.fd]
        return _int(self._ask({"op": "exec", "exec": pack(request)}, fds, timeout_s=timeout_s), "pid")

    def probe(self, request: ExecStart) -> ProbeCall:
        """Have a check run (ExecStart.capture), without waiting for anything.

        Raises:
            NotFound, Unavailable: the shim is gone, or takes no request.
        """
        sock = _connect(self.run_dir)
        try:
            sock.setblocking(False)
            send(sock, {"op": "exec", "exec": pack(request)})
        except OSError as exc:
            sock.close()
            raise Unavailable(f"the shim does not take a request: {exc}") from exc
        return ProbeCall(sock)

    def open_checker(self, request: ExecStart) -> CheckerCall:
        """Have a checker made, without waiting for anything; it begins with a check (ExecStart.capture).

        Raises:
            NotFound, Unavailable: the shim is gone, or takes no request.
        """
        mine, yours = seqpacket_pair()
        try:
            mine.setblocking(False)
            asking = _connect(self.run_dir)
            try:
                asking.setblocking(False)
                send(asking, {"op": "checker", "exec": pack(request)}, [yours.fileno()])
            finally:
                asking.close()  # the answer is what the checker says
        except OSError as exc:
            mine.close()
            raise Unavailable(f"the shim does not take a request: {exc}") from exc
        except BaseException:
            mine.close()
            raise
        finally:
            yours.close()
        return CheckerCall(mine)

    def resize(self, rows: int, columns: int, exec_id: str | None = None) -> None:
        """Set the terminal size of the container or of an exec.

        Raises:
            NotFound: no such exec runs.
            Conflict: it has no terminal.
        """
        self._ask({"op": "resize", "rows": rows, "columns": columns, "exec_id": exec_id})

    def signal(self, number: int) -> None:
        """Send a signal to init, never to a stranger with its pid.

        Raises:
            Conflict: init has ended. NotFound: the shim has gone.
            InvalidArgument: there is no such signal.
            Unavailable: the shim did not answer in time.
        """
        try:
            self._ask({"op": "signal", "number": number})
        except _Gone as exc:
            raise NotFound(str(exc)) from exc

    def kill_shim(self) -> None:
        """Kill the shim itself, and the container with it (PR_SET_PDEATHSIG): for one that does not answer.

        Our connection tells that it is the shim: while that stands, its pid is no stranger's.
        """
        try:
            pidfd = os.pidfd_open(self.shim_pid)
        except ProcessLookupError:
            return
        try:
            if not _hung_up(self._sock):
                pidfd_send_signal(pidfd, _SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def clear_log(self) -> None:
        """Begin the container's log anew; who follows it goes on.

        Raises:
            Conflict: the container has ended.
        """
        self._ask({"op": "clear_log"})

    def kill_all(self) -> None:
        """Send SIGKILL to every process of the container."""
        self._ask({"op": "kill_all"})

    def close_stdin(self, exec_id: str | None = None) -> None:
        """Give the container (or an exec) end of file on its standard input."""
        self._ask({"op": "close_stdin", "exec_id": exec_id})

    def report(self) -> list[JsonValue]:
        """Return what the runtime noted of the start, in order, as `{"plank", "text", "microseconds"}`.

        Empty unless ShimRequest.report was set.
        """
        try:
            planks = fastjson.loads(read_file(f"{self.run_dir}/{REPORT}"))
        except (FileNotFoundError, InvalidArgument):
            return []
        return planks if isinstance(planks, list) else []

    def release(self, *, timeout_s: float = 30.0) -> None:
        """Let the shim of an ended container go; returns when cgroup, runtime state and run_dir are removed.

        Call it after `Exited` was recorded, and before the same id is started again or its files are removed.
        A shim that is already gone is fine.

        Raises:
            Conflict: the container still runs.
            Unavailable: the shim did not answer in time.
        """
        try:
            self._ask({"op": "release"}, timeout_s=timeout_s)
        except (NotFound, _Gone):
            pass  # nobody was connected, so it went by itself

    def close(self) -> None:
        """Close this handle; the shim and its container live on."""
        self._sock.close()

    def _ask(
        self, document: Mapping[str, object], fds: Sequence[int] = (), *, timeout_s: float | None = None
    ) -> Document:
        sock = _connect(self.run_dir)
        try:
            return _ask(sock, document, fds, _ANSWER_S if timeout_s is None else timeout_s)
        finally:
            sock.close()


class HeldClient:
    """An attached client that gets nothing yet. Closed without `join`: its connection is ended."""

    def __init__(self, sock: socket, attach_id: str, until_ns: int) -> None:
        self._sock = sock
        self._attach_id = attach_id
        self.until_ns = until_ns  # what the log has up to here was said before; 0: there is no log

    def join(self) -> None:
        """Let the client have what came behind `until_ns`; a client that has left is fine."""
        try:
            _ask(self._sock, {"op": "join", "attach_id": self._attach_id}, (), _ANSWER_S)
        except (Conflict, Unavailable):
            pass

    def __enter__(self) -> HeldClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def connect_shim(run_dir: str) -> ShimHandle:
    """Return a handle on the shim of run_dir; events that nobody read yet come first.

    Raises:
        NotFound: no shim answers there: look for its exit record.
    """
    sock = _connect(run_dir)
    try:
        return ShimHandle(sock, run_dir, _ask(sock, {"op": "events"}, (), _ANSWER_S))
    except _Gone as exc:  # it was just about to end
        sock.close()
        raise NotFound(f"no shim answers at {run_dir}") from exc
    except BaseException:
        sock.close()
        raise


def _connect(run_dir: str) -> socket:
    try:
        return connect_at(run_dir, SOCKET, SOCK_SEQPACKET, timeout_s=_ANSWER_S)
    except BlockingIOError as exc:  # it takes no connection, and its queue is full
        raise Unavailable(f"the shim did not answer within {_ANSWER_S:.0f} s") from exc
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise NotFound(f"no shim answers at {run_dir}") from exc


def _ask(sock: socket, document: Mapping[str, object], fds: Sequence[int], timeout_s: float) -> Document:
    sock.settimeout(timeout_s)  # a shim that does not even take the packet must not hang us
    try:
        send(sock, document, fds)
    except OSError as exc:
        raise Unavailable(f"the shim does not take a request: {exc}") from exc
    return _receive_within(sock, timeout_s, "the shim")


def _receive_within(sock: socket, timeout_s: float, who: str) -> Document:
    """Return the answer, as `_receive_with_fds`; descriptors that come with it are closed."""
    document, fds = _receive_with_fds(sock, timeout_s, who)
    close_all(fds)
    return document


def _receive_with_fds(sock: socket, timeout_s: float, who: str) -> tuple[Document, list[int]]:
    """Return the answer and its descriptors, or raise the error that it carries.

    Raises:
        Unavailable: who ended, or said nothing for timeout_s.
        SampanError: what the other end reported.
    """
    if not _readable(sock, timeout_s):
        raise Unavailable(f"{who} did not answer within {timeout_s:.0f} s")
    try:
        packet = receive(sock)
    except OSError as exc:
        raise _Gone(f"{who} is gone: {exc.strerror}") from exc
    if packet is None:
        raise _Gone(f"{who} ended without an answer")
    document, fds = packet
    try:
        raise_error(document)
    except BaseException:
        close_all(fds)
        raise
    return document, fds


def _hung_up(sock: socket) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return bool(poll.poll(0))


def _readable(sock: socket, timeout_s: float) -> bool:
    poll = select.poll()  # not select.select: descriptors of a daemon go past 1,023
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _int(document: Mapping[str, JsonValue], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int):
        raise Unavailable(f"an answer of the launcher protocol lacks {name}")
    return value
