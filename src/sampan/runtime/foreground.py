"""Stay with a container in the foreground: pass on signals, join its terminal to ours, reap, wait. Lean."""

from __future__ import annotations

import errno
import os
import select

from sampan.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_IGN, SIGCHLD, SIGPIPE, SIGURG, SIGWINCH, set_wakeup_fd, signal
else:
    from _signal import SIG_IGN, SIGCHLD, SIGPIPE, SIGURG, SIGWINCH, set_wakeup_fd, signal

_KEPT = frozenset((9, 19, 32, 33, SIGPIPE))  # the two that cannot be caught, libc's two, and one of our own
_CHUNK = 65536
_wakeup: list[int] = []


def prepare(*, reap_orphans: bool) -> None:
    """Catch every signal from here on, for `stay_with`; become the reaper of the container's orphans."""
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    set_wakeup_fd(theirs, warn_on_full_buffer=False)
    _wakeup[:] = [ours]
    for number in range(1, 65):
        if number not in _KEPT:
            signal(number, _note)
    signal(SIGPIPE, SIG_IGN)
    if reap_orphans:
        process.set_child_subreaper()


def _note(number: int, frame: object) -> None:
    """Do nothing: the number is in the wake-up pipe."""


def stay_with(pid: int, pidfd: int, master: int) -> int:
    """Return once the process has ended: its exit code, or 128 + the signal that ended it.

    master: its terminal, joined to our standard input and output meanwhile; -1 for none.
    """
    loop = _Loop(pid, pidfd, master)
    if master < 0 or not os.isatty(0):
        return loop.run()
    from sampan.kernel import tty

    saved = tty.make_raw(0)
    try:
        loop.resize()
        return loop.run()
    finally:
        try:
            tty.restore(0, saved)
        except OSError:
            pass  # the terminal is gone


class _Loop:
    """Waits for the process while passing on signals and bytes."""

    def __init__(self, pid: int, pidfd: int, master: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._master = master
        self._poll = select.poll()
        self._poll.register(_wakeup[0], select.POLLIN)
        self._code: int | None = None
        if master >= 0:
            self._poll.register(master, select.POLLIN)
            self._poll.register(0, select.POLLIN)

    def run(self) -> int:
        """Run until the process has ended and its terminal is read to the end."""
        self._reap()
        while self._code is None:
            for fd, _ in self._poll.poll():
                if fd == _wakeup[0]:
                    self._take_signals()
                elif fd == self._master:
                    self._copy_out()
                else:
                    self._copy_in()
        while self._master >= 0 and self._readable():
            self._copy_out()
        return self._code

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if self._master >= 0 and os.isatty(0):
            from sampan.kernel import tty

            tty.set_size(self._master, *tty.get_size(0))

    def _take_signals(self) -> None:
        for number in os.read(_wakeup[0], 4096):
            if number == SIGCHLD:
                self._reap()
            elif number == SIGWINCH and self._master >= 0:
                self.resize()
            elif number != SIGURG:
                self._forward(number)

    def _forward(self, number: int) -> None:
        try:
            process.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it has ended; SIGCHLD is under way

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code

    def _readable(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0)
        return bool(ready)

    def _copy_out(self) -> None:
        try:
            data = os.read(self._master, _CHUNK)
        except OSError as exc:
            if exc.errno != errno.EIO:  # no process has the other end open
                raise
            data = b""
        if not data:
            self._poll.unregister(self._master)
            self._master = -1
            return
        _write_all(1, data)

    def _copy_in(self) -> None:
        data = os.read(0, _CHUNK)
        if not data:
            self._poll.unregister(0)
            data = b"\x04"  # end of input, as typed at a terminal
        if self._master >= 0:
            _write_all(self._master, data)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as exc:
            if exc.errno not in (errno.EPIPE, errno.EIO):
                raise
            return  # nobody reads it any more
