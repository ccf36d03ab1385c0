"""The shim's life: from the launcher's fork to its end (docs/shim.md). Lean."""

from __future__ import annotations

import os
import sys

from sampan.errors import Unavailable
from sampan.kernel.process import set_child_subreaper
from sampan.kernel.sockets import from_fd
from sampan.lean import Undo
from sampan.runtime.launcher import rundir
from sampan.runtime.launcher.control import open_listener
from sampan.runtime.launcher.creating import payload_of, tell_creator
from sampan.runtime.launcher.log_writer import open_log
from sampan.runtime.launcher.loop import READABLE, Loop
from sampan.runtime.launcher.messages import NETSPACE, ROOT, error_document, unpack_attach, unpack_request
from sampan.runtime.launcher.stdio import open_nothing, open_pipes, terminal_ends
from sampan.runtime.launcher.supervisor import Init, Supervisor
from sampan.runtime.launcher.title import set_title
from sampan.runtime.launcher.transport import number, parse, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from signal import SIGCHLD, set_wakeup_fd, signal
    from types import FrameType

    from sampan.runtime.launcher.messages import AttachRequest, Document, ShimRequest
    from sampan.runtime.launcher.payload import Payload
    from sampan.runtime.launcher.stdio import Stdio
    from sampan.runtime.launcher.worker import Worker
else:
    from _signal import SIGCHLD, set_wakeup_fd, signal  # the enumerations of `signal` cost 3 ms


def become_shim() -> None:
    """Prepare this fork of the launcher for its life as a shim."""
    os.setsid()
    signal(SIGCHLD, _on_child)  # and no longer ignored: we want exit codes


def run_shim(body: bytes, fds: list[int], *, creator: Worker, title_area: tuple[int, int]) -> None:
    """Start the container of a packet and look after it; return when the shim may end.

    A packet may ask for a view of a root (`root_view`) or for network namespaces (`netspaces`) instead: then
    this fork does that and ends.

    fds: the connection to sampand, then one for each attached client. creator: of `fork_creator`. On an
    error sampand is told, and nothing is left behind.
    """
    connection = from_fd(fds[0])
    try:
        document = parse(body, fds)
        if document.get("op") == ROOT:
            from sampan.runtime.launcher.root_view import open_view  # no shim needs it

            open_view(connection, document, fds[1:])
            return
        if document.get("op") == NETSPACE:
            from sampan.runtime.launcher.netspaces import make_netspaces  # no shim needs it

            make_netspaces(connection, document, fds[1:])
            return
        request, attaches = open_request(document, fds)
        set_title(title_area, "sampan-shim", request.id[:12])
        if request.runtime is not None:
            set_child_subreaper()  # another runtime's init comes to us; our own is born as our child
        loop = Loop()
        supervisor = begin(
            loop, request, attaches, payload_of(request), lambda stdio: tell_creator(creator, body, stdio)
        )
    except Exception as exc:  # whatever it is, sampand waits for an answer
        _try_send(connection, error_document(exc))
        return
    try:
        _watch_children(loop, supervisor)
        _try_send(connection, supervisor.started())
        supervisor.control.add_subscriber(connection)
        loop.run()
    except BaseException:
        _note_crash(request.run_dir)
        raise


def open_request(document: Document, fds: list[int]) -> tuple[ShimRequest, list[AttachRequest]]:
    """Read a `start` packet; fds as for `run_shim`.

    Raises:
        Unavailable: it is damaged, or of another version.
    """
    raw = document.get("attaches")
    parts = raw if isinstance(raw, list) else []
    if len(parts) != len(fds) - 1:
        raise Unavailable("a start packet has another number of descriptors than clients")
    attaches = [unpack_attach(part, fd) for part, fd in zip(parts, fds[1:], strict=True)]
    return unpack_request(document.get("request")), attaches


def begin(
    loop: Loop,
    request: ShimRequest,
    attaches: Sequence[AttachRequest],
    payload: Payload,
    create: Callable[[Stdio], Worker],
) -> Supervisor:
    """Create and start the container, and begin to serve its streams and requests.

    create(stdio) returns the worker that does it; we open the run directory beside it.

    Raises:
        SampanError, OSError: it did not start; nothing is left behind.
    """
    with Undo() as undo:
        rundir.forget_earlier_run(request.run_dir)
        stdio = open_nothing() if request.terminal else open_pipes(stdin=request.open_stdin)
        worker = create(stdio)
        stdio.close_child_ends()
        log = open_log(request.log) if request.log.enabled else None
        worker.receive()  # not before: until the id is ours, the folder may be another start's
        undo.add(rundir.remove_all, request.run_dir)
        undo.add(payload.delete)
        rundir.claim(request.run_dir)
        listener = open_listener(request.run_dir)
        started, masters = worker.receive()
        worker.close()
        init = Init(
            pid=number(started, "pid"),
            start_ticks=number(started, "start_ticks"),
            console_master=masters[0] if masters else -1,
            alone=started.get("alone") is True,
        )
        supervisor = Supervisor(loop, request, payload, init, listener, log)
        if init.console_master >= 0:
            supervisor.serve(*terminal_ends(init.console_master, stdin=request.open_stdin), attaches)
        else:
            supervisor.serve(stdio.outputs, stdio.stdin, attaches)
        undo.commit()
    return supervisor


def _watch_children(loop: Loop, supervisor: Supervisor) -> None:
    """Reap whenever a child ends: the signal becomes a byte in a pipe, which the loop watches."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    set_wakeup_fd(writer, warn_on_full_buffer=False)

    def on_wakeup(_events: int) -> None:
        try:
            os.read(reader, 4096)
        except BlockingIOError:
            pass
        supervisor.reap()

    loop.watch(reader, READABLE, on_wakeup)
    os.write(writer, b"\0")  # whoever ended before this moment


def _on_child(_number: int, _frame: FrameType | None) -> None:
    """Python has to have a handler for the wake-up byte to be written."""


def _try_send(connection: socket, document: Document) -> None:
    try:
        send(connection, document)
    except OSError:
        pass  # sampand is gone or gave up: the container runs on and is found by its run directory


def _note_crash(run_dir: str) -> None:
    """Leave the traceback in the run directory: there is nobody else to tell."""
    try:
        os.dup2(rundir.open_notes(run_dir), 2)
    except OSError:
        return
    sys.__excepthook__(*sys.exc_info())
