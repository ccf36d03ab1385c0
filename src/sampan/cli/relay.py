"""Between this command's stdio and a container: one loop that copies both ways. Lean (decision 0002).

```
 stdin ──► detach keys ──► pending ──► socket ──► frames ──► stdout, stderr
 signals ──► wake-up pipe ──► `on_signal`, `on_resize`            └─► created, end (docs/api.md, sessions)
```

Input is read only when all earlier input has been taken, so a container that does not read never makes us
hold more than one piece, and its output keeps flowing meanwhile: no deadlock between the two directions.
"""

from __future__ import annotations

import posix
import select

from sampan import fastjson
from sampan.cli.detach_keys import DetachKeys
from sampan.client.frames import CREATED, END, STDERR, STDOUT, SYSTEM_ERROR, Frames
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable

    from sampan.cli.terminal import RawMode
    from sampan.client.session import Hijacked
    from sampan.fastjson import JsonValue
else:
    import _signal  # the enumerations of `signal` cost 3 ms

_PIECE = 64 * 1024
_READ = 256 * 1024
_ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
# Not passed on: SIGWINCH (a resize for programs with a terminal, an order to stop for httpd without one) and
# the job-control signals, which mean this command. Differs: docker passes those on as well.
PROXIED = (*_ENDING, _signal.SIGUSR1, _signal.SIGUSR2, _signal.SIGALRM)
_PATIENCE = 3  # that many SIGINT or SIGTERM, and the user wants out whatever the container does


@record
class Ended:
    """How a relay ended. `reason`: "end" (frame with a code), "eof", "detached", "signal"."""

    reason: str
    code: int = 0
    error: str = ""
    hint: str = ""


class Relay:
    """One stream between this command and a container, until one side ends it."""

    def __init__(
        self,
        stream: Hijacked,
        *,
        stdin: bool,
        framed: bool,
        detach_keys: bytes = b"",
        raw: bool = False,
        size: tuple[int, int] | None = None,
        proxied: tuple[int, ...] = (),
        on_created: Callable[[dict[str, JsonValue]], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
        on_resize: Callable[[int, int], None] | None = None,
    ) -> None:
        self._stream = stream
        self._sock = stream.sock
        self._reads_stdin = stdin
        self._frames = Frames() if framed else None
        self._keys = DetachKeys(detach_keys) if detach_keys else None
        self._raw = _raw_mode() if raw else None
        self._proxied = proxied
        self._on_created = on_created
        self._on_signal = on_signal
        self._on_resize = on_resize
        self._pending = b""
        self._end: Ended | None = None
        self._insisted = 0
        self._size = size  # what the container's terminal has already

    def run(self) -> Ended:
        """Copy until the stream ends, the user detaches, or a signal ends us. The terminal is put back.

        Raises:
            BrokenPipeError: our standard output is gone.
        """
        wake, restore = self._watch_signals()
        try:
            if self._raw is not None:
                self._raw.enter()
            self._sock.setblocking(False)
            if self._on_created is None:
                self._catch_up_size()
            return self._take_output(self._stream.early) or self._loop(wake)
        finally:
            if self._raw is not None:
                self._raw.leave()
            restore()
            self._sock.close()

    def _loop(self, wake: int) -> Ended:
        while True:
            poller = select.poll()
            poller.register(self._sock, select.POLLIN | (select.POLLOUT if self._pending else 0))
            poller.register(wake, select.POLLIN)
            if self._reads_stdin and not self._pending:
                poller.register(0, select.POLLIN)
            ready = dict(poller.poll())
            ended: Ended | None = None
            if wake in ready:
                ended = self._take_signals(wake)
            if ended is None and 0 in ready:
                ended = self._take_input()
            if ended is None and ready.get(self._sock.fileno(), 0) & ~select.POLLOUT:
                ended = self._take_output(None)
            if ended is not None:
                return ended
            if self._pending:
                self._send_pending()

    def _take_output(self, data: bytes | None) -> Ended | None:
        """Show one piece of output; None to go on. Without data the socket is read."""
        if data is None:
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                data = b""
            if not data:
                return self._end or Ended(reason="eof")
        if self._frames is None:
            write_all(STDOUT, data)
            return None
        for kind, piece in self._frames.feed(data):
            if kind in (STDOUT, STDERR):
                write_all(kind, piece)
            elif kind == END:
                # The connection itself ends when everything is done, the removal included.
                self._end = _parse_end(piece)
                self._reads_stdin, self._pending = False, b""
            elif kind == CREATED and self._on_created is not None:
                document = fastjson.loads(piece)
                assert isinstance(document, dict)
                self._on_created(document)
                self._catch_up_size()
            elif kind == SYSTEM_ERROR:
                return Ended(reason="eof", error=piece.decode(errors="replace").strip())
        return None

    def _take_input(self) -> Ended | None:
        try:
            data = posix.read(0, _PIECE)
        except BlockingIOError:
            return None
        except OSError:
            data = b""  # closed, or the terminal has hung up
        if not data:
            self._reads_stdin = False
            self._half_close()
            return None
        if self._keys is None:
            self._pending = data
            return None
        self._pending, detached = self._keys.feed(data)
        if detached:
            self._send_pending()
            return Ended(reason="detached")
        return None

    def _send_pending(self) -> None:
        try:
            sent = self._sock.send(self._pending)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._reads_stdin, self._pending = False, b""  # nobody reads; output and the code still come
            return
        self._pending = self._pending[sent:]

    def _half_close(self) -> None:
        """Tell the container that its input has ended; its output goes on."""
        try:
            self._sock.shutdown(1)  # SHUT_WR
        except OSError:
            pass  # the other side was faster

    def _watch_signals(self) -> tuple[int, Callable[[], None]]:
        """Let signals write to a pipe; return its reading end, and what undoes this."""
        reading, writing = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        watched = set(self._proxied)
        if self._raw is not None:
            watched |= {*_ENDING, _signal.SIGWINCH, _signal.SIGCONT}
        before = {number: _signal.signal(number, _noted) for number in watched}
        old_fd = _signal.set_wakeup_fd(writing)

        def restore() -> None:
            _signal.set_wakeup_fd(old_fd)
            for number, handler in before.items():
                _signal.signal(number, handler if handler is not None else _signal.SIG_DFL)
            posix.close(reading)
            posix.close(writing)

        return reading, restore

    def _take_signals(self, wake: int) -> Ended | None:
        for number in posix.read(wake, 512):
            if number == _signal.SIGWINCH:
                self._catch_up_size()
            elif number == _signal.SIGCONT and self._raw is not None:
                self._raw.enter()
                self._size = None
                self._catch_up_size()
            elif number in self._proxied and self._on_signal is not None:
                self._insisted += number in (_signal.SIGINT, _signal.SIGTERM)
                if self._insisted >= _PATIENCE:
                    return Ended(reason="signal", code=128 + number)
                self._on_signal(number)
            elif number in _ENDING and self._raw is not None:
                return Ended(reason="signal", code=128 + number)
        return None

    def _catch_up_size(self) -> None:
        """Tell the container about a window size that it does not know yet."""
        if self._raw is None:
            return
        from sampan.cli.terminal import window_size

        size = window_size()
        if size is not None and size != self._size and self._on_resize is not None:
            self._size = size
            self._on_resize(*size)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing here: the number is in the wake-up pipe."""


def _parse_end(data: bytes) -> Ended:
    document = fastjson.loads(data)
    assert isinstance(document, dict)
    code = document.get("StatusCode")
    return Ended(
        reason="end",
        code=code if isinstance(code, int) else 125,
        error=str(document.get("Error") or ""),
        hint=str(document.get("Hint") or ""),
    )


def write_all(fd: int, data: bytes) -> None:
    """Write all of data, also to a descriptor that another program has made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(fd, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


def _raw_mode() -> RawMode:
    from sampan.cli.terminal import RawMode

    return RawMode(0)
