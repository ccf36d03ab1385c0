"""Further processes in a running container, each from its order to the end of its stream. Lean.

The runtime starts them in workers, so neither the container's output nor another exec waits for one that
takes long (a frozen container, a slow disk).
"""

from __future__ import annotations

import os

from sampan.errors import Conflict, NotFound, SampanError
from sampan.lean import record, replace
from sampan.runtime.executing import close_entry
from sampan.runtime.launcher.entries import pack_entry, unpack_entry
from sampan.runtime.launcher.loop import READABLE
from sampan.runtime.launcher.messages import ExecExited, error_document, unpack_exec
from sampan.runtime.launcher.probes import Capture, kill_group
from sampan.runtime.launcher.stdio import open_nothing, open_pipes, terminal_ends
from sampan.runtime.launcher.transport import number
from sampan.runtime.launcher.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from sampan.runtime.executing import Entry
    from sampan.runtime.launcher.control import Request
    from sampan.runtime.launcher.loop import Loop, Timer
    from sampan.runtime.launcher.messages import Document, Event, ExecStart
    from sampan.runtime.launcher.payload import Payload
    from sampan.runtime.launcher.stdio import Stdio
    from sampan.runtime.launcher.streams import Streams
    from sampan.runtime.launcher.worker import WorkerSide

    class Keeper(Protocol):
        """What the table of execs asks of the shim's supervisor."""

        def open_streams(
            self,
            outputs: dict[int, int],
            stdin: int,
            *,
            stdin_once: bool,
            on_drained: Callable[[], None],
            log: Capture | None,
        ) -> Streams:
            """Serve the streams of a process."""

        def publish(self, event: Event) -> bool:
            """Tell sampand; False if it is not connected."""

        def exec_gone(self) -> None:
            """An exec's stream is closed, or its start failed."""


_ACK_S = 1.0  # how long a stream stays open for sampand to note the exit code


@record
class Ended:
    """How a child ended: its exit code (128 + signal when killed), the signal or 0, and when."""

    code: int
    signal: int
    at_ns: int


class ExecTable:
    """The execs of one container, by exec id."""

    def __init__(self, loop: Loop, payload: Payload, keeper: Keeper) -> None:
        self._loop = loop
        self._payload = payload
        self._keeper = keeper
        self._entry: Entry | None = None  # kept for good; the first exec's worker opens it
        self._starting: dict[str, StartingExec] = {}
        self._running: dict[str, Exec] = {}
        self._early: dict[int, Ended] = {}  # children that ended before their worker named them

    @property
    def idle(self) -> bool:
        """Whether no exec is being started, runs, or has an open stream."""
        return not self._starting and not self._running

    def get(self, exec_id: object) -> Exec:
        """Return a running exec.

        Raises:
            NotFound: there is none of that id.
        """
        process = self._running.get(str(exec_id))
        if process is None:
            raise NotFound(f"no such exec runs: {exec_id}")
        return process

    def start(self, request: Request) -> None:
        """Begin to start an exec; the request is answered when its program runs, or cannot.

        Raises:
            Conflict: its id is in use.
        """
        order = unpack_exec(request.document.get("exec"), request.fds)
        if order.exec_id in self._starting or order.exec_id in self._running:
            raise Conflict(f"exec command {order.exec_id} is already running")
        if order.attach is not None:
            order = replace(order, attach=replace(order.attach, fd=os.dup(order.attach.fd)))
        starting = StartingExec(order, request)
        try:
            worker = self._fork(starting)
        except BaseException:
            starting.abandon()
            raise
        finally:
            starting.stdio.close_child_ends()
        self._starting[order.exec_id] = starting
        self._loop.watch(worker.fd, READABLE, lambda _events: self._worker_says(starting, worker))

    def _fork(self, starting: StartingExec) -> Worker:
        """Fork what becomes the process, or what starts it where we know no entry (yet)."""
        entry = self._entry
        if entry is None:
            return Worker(lambda side: starting.work(self._payload, side), keep=starting.stdio.child)
        keep = (*starting.stdio.child, *entry.fds)
        return Worker(lambda side: starting.become(self._payload, entry, side), keep=keep, entry=entry)

    def child_ended(self, pid: int, ended: Ended) -> None:
        """Note the end of a child, which may be an exec or an orphan that came to us."""
        for process in self._running.values():
            if process.pid == pid:
                process.ended = ended
                process.streams.process_ended()
                return
        if self._starting:
            self._early[pid] = ended

    def close(self, exec_id: str) -> None:
        """Let an ended exec's client go: sampand knows its exit code, or had its time."""
        process = self._running.get(exec_id)
        if process is not None and process.ended is not None:
            del self._running[exec_id]
            process.close()
            self._keeper.exec_gone()

    def _worker_says(self, starting: StartingExec, worker: Worker) -> None:
        error: SampanError | None = None
        try:
            if not starting.is_decided(worker):
                return
        except SampanError as exc:
            error = exc
        self._loop.forget(worker.fd)
        worker.close()
        del self._starting[starting.order.exec_id]
        if error is None:
            self._run(starting)
        else:
            starting.abandon()
            starting.request.answer(error_document(error))
            self._keeper.exec_gone()
        if not self._starting:
            self._early.clear()

    def _run(self, starting: StartingExec) -> None:
        order, pid, master = starting.order, starting.pid, starting.console_master
        self._keep_entry(starting.entry)
        outputs, stdin = starting.stdio.outputs, starting.stdio.stdin
        if master >= 0:
            outputs, stdin = terminal_ends(master, stdin=starting.typing)
        capture = Capture(order.capture) if order.capture else None
        streams = self._keeper.open_streams(
            outputs,
            stdin,
            stdin_once=not order.terminal,
            on_drained=lambda: self._drained(order.exec_id),
            log=capture,
        )
        self._running[order.exec_id] = process = Exec(pid, master, streams)
        starting.request.answer({"pid": pid})
        if capture is not None:
            process.probe = Probe(capture, starting.request)
            process.timer = self._loop.call_later(order.timeout_s, process.time_out)
        if order.attach is not None:
            streams.attach(order.attach)
        early = self._early.pop(pid, None)
        if early is not None:
            self.child_ended(pid, early)

    def _keep_entry(self, entry: Entry | None) -> None:
        if self._entry is None:
            self._entry = entry
        elif entry is not None:  # two first execs at once
            close_entry(entry)

    def _drained(self, exec_id: str) -> None:
        process = self._running[exec_id]
        assert process.ended is not None  # streams drain after process_ended only
        if process.probe is not None:
            process.probe.answer(process.ended)
            self.close(exec_id)
            return
        process.streams.finish_sessions(process.ended.code)
        event = ExecExited(exec_id=exec_id, code=process.ended.code, at_ns=process.ended.at_ns)
        if self._keeper.publish(event):
            process.timer = self._loop.call_later(_ACK_S, lambda: self.close(exec_id))
        else:
            self.close(exec_id)


class StartingExec:
    """An exec whose worker has not answered yet; owns our ends of its pipes and the client's descriptor."""

    def __init__(self, order: ExecStart, request: Request) -> None:
        """order.attach.fd, if there is one, is taken over."""
        self.order = order
        self.request = request
        self.pid = 0
        self.console_master = -1
        self.entry: Entry | None = None  # where the next ones can be born
        self._ready = False
        self.typing = order.attach is not None and order.attach.stdin
        self.stdio = self._open_stdio()

    def work(self, payload: Payload, side: WorkerSide) -> None:
        """Start the process; runs in the worker."""
        process = payload.start_exec(self.order, self.stdio)
        try:
            entry = payload.open_entry()
        except (OSError, SampanError):
            entry = None  # the container has just ended
        document: Document = {"pid": process.pid, "terminal": process.console_master >= 0}
        fds = [process.console_master] if process.console_master >= 0 else []
        if entry is not None:
            document["entry"] = pack_entry(entry)
            fds += entry.fds
        side.tell(document, fds)

    def become(self, payload: Payload, entry: Entry, side: WorkerSide) -> None:
        """Become the process; runs in the worker, and returns only by raising."""
        payload.become_exec(self.order, self.stdio, entry, side.fd)

    def is_decided(self, worker: Worker) -> bool:
        """Read what the worker says; return whether the program runs by now.

        One that starts it tells its pid; of one that becomes it execve closes the end, once it was ready.

        Raises:
            SampanError: it will not run.
        """
        packet = worker.next_packet()
        if packet is None:
            if not self._ready:
                raise SampanError("the runtime's process was killed")
            self.pid = worker.pid
            return True
        document, fds = packet
        if "console" in document or document.get("terminal") is True:
            self.console_master = fds.pop(0)
        self._ready = "ready" in document
        if "pid" not in document:
            return False
        self.pid = number(document, "pid")
        if "entry" in document:
            self.entry = unpack_entry(document["entry"], fds)
        return True

    def abandon(self) -> None:
        """Close everything: it was not started. The client is sampand's to tell."""
        if self.console_master >= 0:
            os.close(self.console_master)
        self.stdio.close_our_ends()
        if self.order.attach is not None:
            os.close(self.order.attach.fd)

    def _open_stdio(self) -> Stdio:
        if self.order.capture:
            return open_pipes(stdin=False)
        if self.order.terminal or self.order.attach is None:
            return open_nothing()
        return open_pipes(stdin=self.typing)


class Probe:
    """What makes an exec a check: its output, and the request that is answered a second time at its end."""

    def __init__(self, capture: Capture, request: Request) -> None:
        self._capture = capture
        self._request = request
        self.timed_out = False

    def answer(self, ended: Ended) -> None:
        """Tell how it ended."""
        self._request.answer(
            {
                "code": ended.code,
                "output": self._capture.text(),
                "timed_out": self.timed_out,
                "at_ns": ended.at_ns,
            }
        )


class Exec:
    """What the shim remembers of an exec while it runs or its stream is open."""

    def __init__(self, pid: int, console_master: int, streams: Streams) -> None:
        self.pid = pid
        self.console_master = console_master
        self.streams = streams
        self.ended: Ended | None = None
        self.timer: Timer | None = None
        self.probe: Probe | None = None

    def time_out(self) -> None:
        """Kill a check that takes too long."""
        if self.probe is not None and self.ended is None:
            self.probe.timed_out = True
            kill_group(self.pid)

    def close(self) -> None:
        """Let its client go, once everything is sent to it."""
        if self.timer is not None:
            self.timer.cancel()
        if self.console_master >= 0:
            os.close(self.console_master)
            self.console_master = -1
        self.streams.finish_clients(None if self.ended is None else self.ended.code)
