"""The standard streams of one process, seen from the shim: read, logged, sent to clients, fed. Lean.

Output is read while every attached client keeps up; a client that holds more than it may makes the process
wait (attached.py). Input goes the other way with the same care: a client is not read while the process does
not take what it already typed.
"""

from __future__ import annotations

import fcntl
import os

from sampan.runtime.launcher.attached import CHUNK, STDERR, STDOUT, AttachedClient
from sampan.runtime.launcher.loop import READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.runtime.launcher.log_writer import LogWriter
    from sampan.runtime.launcher.loop import Loop, Timer
    from sampan.runtime.launcher.messages import AttachRequest, DetachReason
    from sampan.runtime.launcher.probes import Capture

_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_DRAIN_S = 2.0  # as Docker: how long output of a process's own children is waited for after its end
_TERMINAL_BUFFER = (
    64 * 1024
)  # bound of what a terminal holds unread (drivers/tty/tty_buffer.c, TTYB_DEFAULT_MEM_LIMIT)


class InputSink:
    """The writing end of a process's standard input; keeps what does not fit."""

    def __init__(self, loop: Loop, fd: int, on_room: Callable[[], None]) -> None:
        """Take over fd, which does not block."""
        self._loop = loop
        self._fd = fd
        self._on_room = on_room
        self._pending = b""
        self._closing = False

    @property
    def takes_input(self) -> bool:
        """Whether more may be written now."""
        return self._fd >= 0 and not self._pending and not self._closing

    def write(self, data: bytes) -> None:
        """Write data, now or when there is room; what comes after `close` is dropped."""
        if self._fd < 0 or self._closing:
            return
        if self._pending:
            self._pending += data
            return
        self._pending = self._write_now(data)
        if self._pending:
            self._loop.watch(self._fd, WRITABLE, self._on_events)

    def close(self) -> None:
        """Give the process end of file, after what is still pending."""
        self._closing = True
        if not self._pending:
            self._shut()

    def _on_events(self, _events: int) -> None:
        self._pending = self._write_now(self._pending)
        if self._pending:
            return
        if self._fd >= 0:
            self._loop.forget(self._fd)
        if self._closing:
            self._shut()
        else:
            self._on_room()

    def _write_now(self, data: bytes) -> bytes:
        """Return what did not fit; nothing if the process reads no more."""
        try:
            return data[os.write(self._fd, data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._shut()
            return b""

    def _shut(self) -> None:
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1


class Streams:
    """Everything that is attached to one process (the container's init, or an exec)."""

    def __init__(
        self,
        loop: Loop,
        *,
        outputs: dict[int, int],
        stdin: int,
        stdin_once: bool,
        log: LogWriter | Capture | None,
        on_detached: Callable[[str, DetachReason], None],
        on_drained: Callable[[], None],
    ) -> None:
        """Take over the descriptors: outputs is stream number to reading end, stdin the writing end or -1.

        With a terminal outputs is {STDOUT: master} and stdin a duplicate of master.
        """
        self._loop = loop
        self._outputs = dict(outputs)
        self._paused = False
        self._log = log
        self._clients: list[AttachedClient] = []
        self._on_detached = on_detached
        self._on_drained = on_drained
        self._stdin_once = stdin_once
        self._sink: InputSink | None = InputSink(loop, stdin, self._update_input) if stdin >= 0 else None
        self._deadline: Timer | None = None
        for fd in (*outputs.values(), *((stdin,) if stdin >= 0 else ())):
            os.set_blocking(fd, False)
        self._watch_outputs()
        self._slow_log = log.slow if log is not None else None
        if self._slow_log is not None:
            self._slow_log.watch(loop, self.has_room)

    @property
    def drained(self) -> bool:
        """Whether all output was read to its end."""
        return not self._outputs

    @property
    def has_clients(self) -> bool:
        """Whether someone is still attached."""
        return bool(self._clients)

    def attach(self, request: AttachRequest) -> None:
        """Join a client: it gets what is read from now on. Takes over request.fd."""
        client = AttachedClient(self._loop, request, self)
        self._clients.append(client)
        client.accept_input(self._sink is not None and self._sink.takes_input)

    def hold(self, request: AttachRequest) -> AttachedClient:
        """Join a client that is sent nothing before `let_go`, and then all from now on. Takes request.fd."""
        client = AttachedClient(self._loop, request, self)
        client.hold()
        self._clients.append(client)
        client.accept_input(self._sink is not None and self._sink.takes_input)
        return client

    def close_stdin(self) -> None:
        """Give the process end of file on its standard input."""
        if self._sink is not None:
            self._sink.close()
            self._update_input()

    def process_ended(self) -> None:
        """Read what the process left, whoever is slow, then give its children 2 s; `on_drained` follows."""
        self.close_stdin()
        for number in list(self._outputs):
            self._read_what_is_left(number)
        self._resume()
        if self._outputs:
            self._deadline = self._loop.call_later(_DRAIN_S, self._abandon_outputs)
        else:
            self._on_drained()

    def finish_clients(self, code: int | None) -> None:
        """Close each client once it got everything; those that want it are told the code first."""
        for client in list(self._clients):
            client.finish(code)

    def finish_sessions(self, code: int) -> None:
        """Do so with the clients that are told the code in their stream, and ask nobody else for it."""
        for client in list(self._clients):
            if client.wants_end:
                client.finish(code)

    # What clients say (attached.Owner).

    def take_input(self, client: AttachedClient, data: bytes) -> None:
        """Pass on what a client typed."""
        if self._sink is not None:
            self._sink.write(data)
            self._update_input()

    def end_input(self, client: AttachedClient) -> None:
        """A client's input has ended: so has the process's, if it was to have one client only."""
        if self._stdin_once:
            self.close_stdin()

    def has_room(self) -> None:
        """A slow client, or a slow log, has caught up."""
        if self._slow_log is not None and self._slow_log.full:
            return
        if not any(client.full for client in self._clients):
            self._resume()

    def client_left(self, client: AttachedClient, reason: DetachReason) -> None:
        """A client's connection is closed."""
        self._clients.remove(client)
        self._on_detached(client.id, reason)
        if reason == "gone" and self._stdin_once:
            self.end_input(client)
        self.has_room()

    # Output.

    def _watch_outputs(self) -> None:
        for number, fd in self._outputs.items():
            self._loop.watch(fd, READABLE, self._reader(number))

    def _reader(self, number: int) -> Callable[[int], None]:
        def on_events(_events: int) -> None:
            self._read(number)

        return on_events

    def _read(self, number: int) -> int:
        """Read once and pass it on; return how much it was, 0 at the end or when nothing waits."""
        fd = self._outputs[number]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data:
            self._end_output(number)
            return 0
        if self._log is not None:
            self._log.write(_NAMES[number], data)
        for client in list(self._clients):
            client.send(number, data)
        if not self._paused:
            if self._slow_log is not None and self._slow_log.full:
                self._pause()
            elif any(client.full for client in self._clients):
                self._pause()
        return len(data)

    def _read_what_is_left(self, number: int) -> None:
        """Read as much as the pipe can hold: all that the ended process wrote is in there."""
        left = _capacity(self._outputs[number])
        while left > 0:
            length = self._read(number)
            if not length:
                return
            left -= length

    def _end_output(self, number: int) -> None:
        fd = self._outputs.pop(number)
        self._loop.forget(fd)
        os.close(fd)
        if self._log is not None:
            self._log.finish(_NAMES[number])
        if self._deadline is not None and not self._outputs:
            self._deadline.cancel()
            self._deadline = None
            self._on_drained()

    def _abandon_outputs(self) -> None:
        for number in list(self._outputs):
            self._end_output(number)

    def _pause(self) -> None:
        # Not merely a mask of 0: a hang-up would be reported again and again.
        self._paused = True
        for fd in self._outputs.values():
            self._loop.forget(fd)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._watch_outputs()

    # Input.

    def _update_input(self) -> None:
        wanted = self._sink is not None and self._sink.takes_input
        for client in self._clients:
            client.accept_input(wanted)


def _capacity(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return _TERMINAL_BUFFER
