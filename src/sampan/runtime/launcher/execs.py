"""One further process in a running container, from its start to the end of its stream. Lean."""

from __future__ import annotations

import os

from sampan.lean import record
from sampan.runtime.launcher.stdio import open_nothing, open_pipes, terminal_ends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.launcher.loop import Timer
    from sampan.runtime.launcher.messages import ExecStart
    from sampan.runtime.launcher.payload import Payload
    from sampan.runtime.launcher.stdio import Stdio
    from sampan.runtime.launcher.streams import Streams


@record
class Ended:
    """How a child ended: its exit code (128 + signal when killed), the signal or 0, and when."""

    code: int
    signal: int
    at_ns: int


@record
class StartedExec:
    """An exec that runs: our ends of its streams, as `Streams` takes them over."""

    pid: int
    console_master: int
    outputs: dict[int, int]
    stdin: int


class Exec:
    """What the shim remembers of an exec while it runs or its stream is open."""

    def __init__(self, started: StartedExec, streams: Streams) -> None:
        self.pid = started.pid
        self.console_master = started.console_master
        self.streams = streams
        self.ended: Ended | None = None
        self.timer: Timer | None = None

    def close(self) -> None:
        """Let its client go, once everything is sent to it."""
        if self.timer is not None:
            self.timer.cancel()
        if self.console_master >= 0:
            os.close(self.console_master)
            self.console_master = -1
        self.streams.finish_clients()


def start_exec(payload: Payload, request: ExecStart) -> StartedExec:
    """Run a further process in the container.

    Raises:
        SampanError: what the runtime said; nothing is left open.
    """
    typing = request.attach is not None and request.attach.stdin
    stdio = _open_stdio(request, typing=typing)
    try:
        pid, master = payload.start_exec(request, stdio)
    except BaseException:
        stdio.close()
        raise
    stdio.close_child_ends()
    if master < 0:
        return StartedExec(pid=pid, console_master=-1, outputs=stdio.outputs, stdin=stdio.stdin)
    outputs, stdin = terminal_ends(master, stdin=typing)
    return StartedExec(pid=pid, console_master=master, outputs=outputs, stdin=stdin)


def _open_stdio(request: ExecStart, *, typing: bool) -> Stdio:
    if request.terminal or request.attach is None:
        return open_nothing()
    return open_pipes(stdin=typing)
