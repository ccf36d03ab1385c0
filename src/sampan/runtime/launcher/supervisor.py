"""A running container, looked after: its streams, its execs, its requests, its end. Lean.

One thread and one loop; nothing here waits for anybody but the runtime itself (docs/shim.md).
"""

from __future__ import annotations

import os
import time

from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.kernel.tty import set_size
from sampan.lean import replace
from sampan.runtime.launcher import rundir
from sampan.runtime.launcher.control import ControlServer
from sampan.runtime.launcher.execs import Ended, Exec, start_exec
from sampan.runtime.launcher.exit_record import write_exit_record
from sampan.runtime.launcher.messages import (
    Detached,
    ExecExited,
    Exited,
    ExitRecord,
    unpack_attach,
    unpack_exec,
)
from sampan.runtime.launcher.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sampan.runtime.launcher.log_file import LogFile
    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import AttachRequest, DetachReason, Document, ShimRequest
    from sampan.runtime.launcher.payload import Payload

_ACK_S = 1.0  # how long an exec's stream stays open for sampand to note its exit code
_DELETE_RETRY_S = 0.02
_DELETE_TRIES = 100  # cgroups of a killed shared pid namespace empty within milliseconds


class Supervisor:
    """Owns a started container until its shim may end."""

    def __init__(self, loop: Loop, request: ShimRequest, payload: Payload, log: LogFile | None) -> None:
        self._loop = loop
        self._request = request
        self._payload = payload
        self._log = log
        self._started_at_ns = 0
        self._execs: dict[str, Exec] = {}
        self._ended: Ended | None = None
        self._cleaned = False
        self._released = False
        self._files_removed = False
        self._streams: Streams | None = None
        self._all_streams: list[Streams] = []
        self.control = ControlServer(
            loop,
            {
                "ack": self._on_ack,
                "attach": self._on_attach,
                "close_stdin": self._on_close_stdin,
                "events": self._on_events,
                "exec": self._on_exec,
                "kill_all": self._on_kill_all,
                "release": self._on_release,
                "resize": self._on_resize,
                "signal": self._on_signal,
            },
            self._end_if_done,
        )

    def started(self) -> Document:
        """Return what a client is told first."""
        return {
            "pid": self._payload.pid,
            "start_ticks": self._payload.start_ticks,
            "shim_pid": os.getpid(),
            "started_at_ns": self._started_at_ns,
        }

    def serve(self, outputs: dict[int, int], stdin: int, attaches: Sequence[AttachRequest]) -> None:
        """The container runs: begin to read, log and pass on its streams."""
        self._started_at_ns = time.time_ns()
        self._streams = self._open_streams(
            outputs,
            stdin,
            stdin_once=self._request.stdin_once and not self._request.terminal,
            on_drained=self._finish,
            log=self._log,
        )
        for attach in attaches:
            self._streams.attach(attach)

    def reap(self) -> None:
        """Collect every child that has ended: init, execs, and orphans that came to us."""
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
            self._child_ended(result.si_pid, ended)

    # The end of a child.

    def _child_ended(self, pid: int, ended: Ended) -> None:
        if pid == self._payload.pid:
            self._ended = ended
            self._payload.kill_all()  # init of a shared pid namespace leaves others behind
            if self._streams is not None:
                self._streams.process_ended()
            return
        for process in self._execs.values():
            if process.pid == pid:
                process.ended = ended
                process.streams.process_ended()
                return

    def _exec_drained(self, exec_id: str) -> None:
        process = self._execs[exec_id]
        assert process.ended is not None  # streams drain after process_ended only
        self.control.publish(ExecExited(exec_id=exec_id, code=process.ended.code, at_ns=process.ended.at_ns))
        if self.control.has_subscribers:
            process.timer = self._loop.call_later(_ACK_S, lambda: self._close_exec(exec_id))
        else:
            self._close_exec(exec_id)

    def _close_exec(self, exec_id: str) -> None:
        process = self._execs.pop(exec_id, None)
        if process is not None:
            process.close()
            self._forget_idle_streams()
            self._end_if_done()

    def _finish(self) -> None:
        """Record the container's end, tell it, and only then clean up: nobody waits for that."""
        assert self._ended is not None  # streams drain after process_ended only
        if self._log is not None:
            self._log.close()
        if self._streams is not None:
            self._streams.finish_clients()
        oom_killed = self._oom_killed()
        ended = self._ended
        write_exit_record(
            self._request.run_dir,
            ExitRecord(
                id=self._request.id,
                code=ended.code,
                signal=ended.signal,
                oom_killed=oom_killed,
                started_at=self._started_at_ns,
                finished_at=ended.at_ns,
            ),
        )
        self.control.publish(
            Exited(code=ended.code, signal=ended.signal, oom_killed=oom_killed, at_ns=ended.at_ns)
        )
        self._clean(_DELETE_TRIES)

    def _oom_killed(self) -> bool:
        try:
            return self._payload.oom_kills() > 0
        except (OSError, SampanError):
            return False  # someone removed the cgroup under us

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
        self.control.settle()

    def _end_if_done(self) -> None:
        """End the shim once nobody can want it any more."""
        if not self._cleaned or self._execs:
            return
        if self._released or not self.control.has_subscribers:
            self._remove_files()
            if not any(streams.has_clients for streams in self._all_streams):
                self._loop.stop()

    def _remove_files(self) -> None:
        """Remove our files; the exit record stays unless sampand has released us, having read it."""
        if not self._files_removed:
            self._files_removed = True
            self.control.stop_listening()
            rundir.remove(self._request.run_dir, with_record=self._released)

    # Requests. Each returns its answer or raises what the client will raise.

    def _on_events(self, _document: Document, _fds: list[int]) -> Document:
        return self.started()

    def _on_attach(self, document: Document, fds: list[int]) -> Document:
        if len(fds) != 1:
            raise InvalidArgument("attach needs one descriptor")
        if self._ended is not None or self._streams is None:
            raise Conflict("the container has ended")
        self._streams.attach(unpack_attach(document.get("attach"), os.dup(fds[0])))
        return {}

    def _on_exec(self, document: Document, fds: list[int]) -> Document:
        if self._ended is not None:
            raise Conflict("the container has ended")
        request = unpack_exec(document.get("exec"), fds)
        if request.exec_id in self._execs:
            raise Conflict(f"exec command {request.exec_id} is already running")
        started = start_exec(self._payload, request)
        streams = self._open_streams(
            started.outputs,
            started.stdin,
            stdin_once=not request.terminal,
            on_drained=lambda: self._exec_drained(request.exec_id),
            log=None,
        )
        self._execs[request.exec_id] = Exec(started, streams)
        if request.attach is not None:
            streams.attach(replace(request.attach, fd=os.dup(request.attach.fd)))
        return {"pid": started.pid}

    def _on_resize(self, document: Document, _fds: list[int]) -> Document:
        exec_id = document.get("exec_id")
        master = self._payload.console_master if exec_id is None else self._get_exec(exec_id).console_master
        if master < 0:
            raise Conflict("it has no terminal to resize")
        try:
            set_size(master, _number(document, "rows"), _number(document, "columns"))
        except OSError as exc:
            raise Conflict(f"cannot resize the terminal: {exc.strerror}") from exc
        return {}

    def _on_signal(self, document: Document, _fds: list[int]) -> Document:
        if self._ended is not None:
            raise Conflict("the container has ended")
        self._payload.signal(_number(document, "number"))
        return {}

    def _on_kill_all(self, _document: Document, _fds: list[int]) -> Document:
        self._payload.kill_all()
        return {}

    def _on_close_stdin(self, document: Document, _fds: list[int]) -> Document:
        exec_id = document.get("exec_id")
        streams = self._streams if exec_id is None else self._get_exec(exec_id).streams
        if streams is not None:
            streams.close_stdin()
        return {}

    def _on_ack(self, document: Document, _fds: list[int]) -> Document:
        self._close_exec(str(document.get("exec_id")))
        return {}

    def _on_release(self, _document: Document, _fds: list[int]) -> Document | None:
        if self._ended is None:
            raise Conflict("the container still runs")
        self._released = True
        self._end_if_done()
        return {} if self._cleaned else None

    # Streams.

    def _open_streams(
        self,
        outputs: dict[int, int],
        stdin: int,
        *,
        stdin_once: bool,
        on_drained: Callable[[], None],
        log: LogFile | None,
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
        self.control.publish(Detached(attach_id=attach_id, reason=reason))
        self._forget_idle_streams()
        self._end_if_done()

    def _forget_idle_streams(self) -> None:
        self._all_streams = [
            streams for streams in self._all_streams if streams.has_clients or not streams.drained
        ]

    def _get_exec(self, exec_id: object) -> Exec:
        process = self._execs.get(str(exec_id))
        if process is None:
            raise NotFound(f"no such exec runs: {exec_id}")
        return process


def _number(document: Document, name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int):
        raise InvalidArgument(f"{name} is not a number")
    return value
