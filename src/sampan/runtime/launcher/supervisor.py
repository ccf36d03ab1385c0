"""A running container, looked after: its streams, its execs, its requests, its end. Lean.

One thread and one loop; nothing here waits for anybody (docs/shim.md).
"""

from __future__ import annotations

import os
import time

from sampan.errors import Conflict, InvalidArgument, SampanError
from sampan.kernel.tty import set_size
from sampan.lean import record
from sampan.runtime.launcher import rundir
from sampan.runtime.launcher.checkers import Checkers
from sampan.runtime.launcher.control import ControlServer
from sampan.runtime.launcher.execs import Ended, ExecTable
from sampan.runtime.launcher.exit_record import sync_exit_record, write_exit_record
from sampan.runtime.launcher.messages import Detached, Exited, ExitRecord, LogTrouble, unpack_attach
from sampan.runtime.launcher.streams import Streams
from sampan.runtime.launcher.transport import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence

    from sampan.runtime.launcher.control import Request
    from sampan.runtime.launcher.held import HeldClients
    from sampan.runtime.launcher.log_writer import LogWriter
    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import AttachRequest, DetachReason, Document, Event, ShimRequest
    from sampan.runtime.launcher.payload import Payload
    from sampan.runtime.launcher.probes import Capture

_DELETE_RETRY_S = 0.02
_SYNC_S = 0.1
_DELETE_TRIES = 100  # cgroups of a killed shared pid namespace empty within milliseconds


@record
class Init:
    """The container's first process, our child. console_master: its terminal's descriptor, -1 without one.

    alone: it is PID 1 of a pid namespace of its own, so the kernel ends the container's others with it.
    """

    pid: int
    start_ticks: int
    console_master: int
    alone: bool


class Supervisor:
    """Owns a started container until its shim may end."""

    def __init__(
        self,
        loop: Loop,
        request: ShimRequest,
        payload: Payload,
        init: Init,
        listener: socket,
        log: LogWriter | None,
    ) -> None:
        self._loop = loop
        self._request = request
        self._payload = payload
        self._init = init
        self._log = log
        self._mounts = _hold_mounts(init.pid)
        self._started_at_ns = 0
        self._ended: Ended | None = None
        self._cleaned = False
        self._released = False
        self._files_removed = False
        self._record_synced = False
        self._waiting_for_release: list[Request] = []
        self._streams: Streams | None = None
        self._held: HeldClients | None = None
        self._all_streams: list[Streams] = []
        self._execs = ExecTable(loop, payload, self)
        self._checkers: Checkers | None = None  # few have one, and what a shim touches it has to copy
        self.control = ControlServer(
            loop,
            {
                "ack": self._on_ack,
                "attach": self._on_attach,
                "checker": self._on_checker,
                "clear_log": self._on_clear_log,
                "close_stdin": self._on_close_stdin,
                "events": self._on_events,
                "join": self._on_join,
                "exec": self._on_exec,
                "kill_all": self._on_kill_all,
                "release": self._on_release,
                "resize": self._on_resize,
                "signal": self._on_signal,
            },
            listener=listener,
            on_disconnect=self._end_if_done,
        )

    def started(self) -> Document:
        """Return what a client is told first."""
        return {
            "pid": self._init.pid,
            "start_ticks": self._init.start_ticks,
            "shim_pid": os.getpid(),
            "started_at_ns": self._started_at_ns,
        }

    def serve(self, outputs: dict[int, int], stdin: int, attaches: Sequence[AttachRequest]) -> None:
        """The container runs: begin to read, log and pass on its streams."""
        self._started_at_ns = time.time_ns()
        if self._log is not None:
            self._log.on_trouble = self._log_failed
        self._streams = self._serve_streams(
            outputs,
            stdin,
            stdin_once=self._request.stdin_once and not self._request.terminal,
            on_drained=self._finish,
            log=self._log,
        )
        for attach in attaches:
            self._streams.attach(attach)

    def reap(self) -> None:
        """Collect every child that has ended: init, execs, workers, and orphans that came to us."""
        while True:
            try:
                result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return
            if result is None:
                return
            killed = result.si_code != os.CLD_EXITED
            code = 128 + result.si_status if killed else result.si_status
            ended = Ended(code=code, signal=result.si_status if killed else 0, at_ns=time.time_ns())
            if result.si_pid == self._init.pid:
                self.init_ended(ended)
            elif self._checkers is None or not self._checkers.child_ended(result.si_pid):
                self._execs.child_ended(result.si_pid, ended)

    def _log_failed(self, dropped_bytes: int) -> None:
        self.publish(LogTrouble(dropped_bytes=dropped_bytes, at_end=False))

    # What the table of execs asks (execs.Keeper).

    def open_streams(
        self,
        outputs: dict[int, int],
        stdin: int,
        *,
        stdin_once: bool,
        on_drained: Callable[[], None],
        log: Capture | None,
    ) -> Streams:
        """Serve the streams of an exec; they are not logged, those of a check are captured."""
        return self._serve_streams(outputs, stdin, stdin_once=stdin_once, on_drained=on_drained, log=log)

    def publish(self, event: Event) -> bool:
        """Tell sampand, now or when it comes back; False if it is not connected."""
        self.control.publish(event)
        return self.control.has_subscribers

    def exec_gone(self) -> None:
        """An exec's stream is closed, or its start failed."""
        self._forget_idle_streams()
        self._end_if_done()

    # The container's end.

    def init_ended(self, ended: Ended) -> None:
        """The container has ended: read the rest of its output, then record and tell it."""
        self._ended = ended
        if self._checkers is not None:
            self._checkers.close()
        if not self._init.alone:
            self._kill_others()
        if self._streams is not None:
            self._streams.process_ended()

    def _kill_others(self) -> None:
        try:
            self._payload.kill_all()
        except (OSError, SampanError) as exc:
            rundir.note(self._request.run_dir, f"cannot kill the container's other processes: {exc}")

    def _finish(self) -> None:
        """Record the container's end, tell it, and only then clean up: nobody waits for that."""
        assert self._ended is not None  # streams drain after process_ended only
        if self._log is not None:
            self._log.close()
            if self._log.dropped_bytes:
                self.publish(LogTrouble(dropped_bytes=self._log.dropped_bytes, at_end=True))
        if self._streams is not None:
            self._streams.finish_clients(self._ended.code)
        ended = self._ended
        oom_killed = self._oom_killed()
        self._write_record(ended, oom_killed=oom_killed)
        self.publish(Exited(code=ended.code, signal=ended.signal, oom_killed=oom_killed, at_ns=ended.at_ns))
        self._let_mounts_go()
        self._loop.call_later(_SYNC_S, self._sync_record)  # sampand has mostly released us by then
        self._clean(_DELETE_TRIES)

    def _let_mounts_go(self) -> None:
        mounts, self._mounts = self._mounts, -1
        if mounts >= 0:
            os.close(mounts)

    def _oom_killed(self) -> bool:
        try:
            return self._payload.oom_kills() > 0
        except (OSError, SampanError):
            return False  # someone removed the cgroup under us

    def _write_record(self, ended: Ended, *, oom_killed: bool) -> None:
        record = ExitRecord(
            id=self._request.id,
            code=ended.code,
            signal=ended.signal,
            oom_killed=oom_killed,
            started_at=self._started_at_ns,
            finished_at=ended.at_ns,
        )
        try:
            write_exit_record(self._request.run_dir, record)
        except OSError as exc:
            # A full or vanished run directory must not keep sampand from learning of the end.
            rundir.note(self._request.run_dir, f"cannot write the exit record: {exc}")

    def _sync_record(self) -> None:
        if self._released or self._record_synced:
            return
        self._record_synced = True
        try:
            sync_exit_record(self._request.run_dir)
        except OSError as exc:
            rundir.note(self._request.run_dir, f"cannot sync the exit record: {exc}")

    def _clean(self, tries: int) -> None:
        try:
            self._payload.delete()
        except (OSError, SampanError) as exc:
            if tries > 0:
                self._loop.call_later(_DELETE_RETRY_S, lambda: self._clean(tries - 1))
                return
            rundir.note(self._request.run_dir, f"cannot remove the container's cgroup or state: {exc}")
        self._cleaned = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End the shim once nobody can want it any more."""
        if not self._cleaned or not self._execs.idle:
            return
        if self._released or not self.control.has_subscribers:
            self._remove_files()
            if not any(streams.has_clients for streams in self._all_streams):
                self._loop.stop()

    def _remove_files(self) -> None:
        """Remove our files; the exit record stays unless sampand has released us, having read it."""
        if self._files_removed:
            return
        self._files_removed = True
        self.control.stop_listening()
        self._sync_record()
        rundir.remove(self._request.run_dir, with_record=self._released)
        for request in self._waiting_for_release:
            request.answer({})

    # Requests. Each returns its answer, raises what the client will raise, or returns None to answer later.

    def _on_events(self, _request: Request) -> Document:
        return self.started()

    def _on_attach(self, request: Request) -> Document | None:
        if len(request.fds) != 1:
            raise InvalidArgument("attach needs one descriptor")
        streams = self._get_speaking()
        attach = unpack_attach(request.document.get("attach"), os.dup(request.fds[0]))
        if attach.hold:
            self._get_held(streams).hold(request, attach)
            return None
        streams.attach(attach)
        return {}

    def _on_join(self, request: Request) -> Document:
        if self._held is None:
            raise Conflict("no client is held")
        self._held.join(str(request.document.get("attach_id")))
        return {}

    def _get_held(self, streams: Streams) -> HeldClients:
        if self._held is None:
            from sampan.runtime.launcher.held import HeldClients  # most shims never need it

            self._held = HeldClients(self._loop, streams, self._log)
        return self._held

    def _on_clear_log(self, _request: Request) -> Document:
        self._get_running()
        if self._log is not None:
            self._log.clear()
        return {}

    def _on_exec(self, request: Request) -> None:
        self._get_running()
        self._execs.start(request)

    def _on_checker(self, request: Request) -> Document:
        self._get_running()
        if self._checkers is None:
            self._checkers = Checkers(self._loop, self._payload)
        self._checkers.start(request)
        return {}

    def _on_resize(self, request: Request) -> Document:
        document = request.document
        exec_id = document.get("exec_id")
        master = self._init.console_master if exec_id is None else self._execs.get(exec_id).console_master
        if master < 0:
            raise Conflict("it has no terminal to resize")
        try:
            set_size(master, number(document, "rows"), number(document, "columns"))
        except OSError as exc:
            raise Conflict(f"cannot resize the terminal: {exc.strerror}") from exc
        return {}

    def _on_signal(self, request: Request) -> Document:
        self._get_running()
        wanted = number(request.document, "number")
        try:
            os.kill(self._init.pid, wanted)  # our child, not reaped yet: the pid can be nobody else's
        except OSError as exc:
            raise InvalidArgument(f"cannot send signal {wanted}: {exc.strerror}") from exc
        return {}

    def _on_kill_all(self, _request: Request) -> Document:
        self._payload.kill_all()
        return {}

    def _on_close_stdin(self, request: Request) -> Document:
        exec_id = request.document.get("exec_id")
        streams = self._streams if exec_id is None else self._execs.get(exec_id).streams
        if streams is not None:
            streams.close_stdin()
        return {}

    def _on_ack(self, request: Request) -> Document:
        self._execs.close(str(request.document.get("exec_id")))
        return {}

    def _on_release(self, request: Request) -> None:
        if self._ended is None:
            raise Conflict("the container still runs")
        self._released = True
        self._waiting_for_release.append(request)
        self._end_if_done()

    def _get_speaking(self) -> Streams:
        """Return the streams of a container that runs, or has ended and is not read to its end."""
        if self._ended is None or self._streams is None or self._streams.drained:
            return self._get_running()
        return self._streams

    def _get_running(self) -> Streams:
        if self._ended is not None or self._streams is None:
            raise Conflict("the container has ended")
        return self._streams

    # Streams.

    def _serve_streams(
        self,
        outputs: dict[int, int],
        stdin: int,
        *,
        stdin_once: bool,
        on_drained: Callable[[], None],
        log: LogWriter | Capture | None,
    ) -> Streams:
        streams = Streams(
            self._loop,
            outputs=outputs,
            stdin=stdin,
            stdin_once=stdin_once,
            log=log,
            on_detached=self._client_detached,
            on_drained=on_drained,
        )
        self._all_streams.append(streams)
        return streams

    def _client_detached(self, attach_id: str, reason: DetachReason) -> None:
        self.publish(Detached(attach_id=attach_id, reason=reason))
        self._forget_idle_streams()
        self._end_if_done()

    def _forget_idle_streams(self) -> None:
        self._all_streams = [
            streams for streams in self._all_streams if streams.has_clients or not streams.drained
        ]


def _hold_mounts(pid: int) -> int:
    """Return a descriptor of a process's mount namespace, -1 if it has gone already.

    Without it the last process would take the mounts down before its end shows: a wait for RCU that the user
    would wait out, too (kernel, fs/namespace.c, put_mnt_ns).
    """
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
