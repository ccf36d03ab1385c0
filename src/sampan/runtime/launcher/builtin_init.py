"""`--init`: a PID 1 that passes signals on, reaps orphans and ends with the program's code. Lean.

The child of the clone forks once more just before execve (decision 0011): its child becomes the program, and
it stays what it is, PID 1, with the program's ids, capabilities and filter, and no descriptor.

Signals are never delivered: they stay blocked and are taken by sigwaitinfo(2), so no handler runs and nothing
is lost between two waits. (PID 1 ignores signals at their default action, but not blocked ones: signal(7),
pid_namespaces(7).)
"""

from __future__ import annotations

import os

from sampan.kernel.clib import write_memory
from sampan.kernel.process import close_range, set_name
from sampan.lean import record
from sampan.runtime.launcher.title import argument_area

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import SIG_BLOCK, SIG_SETMASK, SIGCHLD, SIGTTIN, SIGTTOU, pthread_sigmask, sigwaitinfo
    from typing import NoReturn
else:
    from _signal import SIG_BLOCK, SIG_SETMASK, SIGCHLD, SIGTTIN, SIGTTOU, pthread_sigmask, sigwaitinfo

_ALL = tuple(number for number in range(1, 65) if number not in (32, 33))  # those two are libc's own
# A background process that touches the terminal is told so; that is between it and the kernel.
_OURS = frozenset((SIGCHLD, SIGTTIN, SIGTTOU))


@record
class Title:
    """The command line that `ps` shows for init, and where in memory it goes."""

    start: int
    text: bytes


def plan_title(argv: Sequence[bytes]) -> Title:
    """Make `sampan-init -- program argument…`, cut to the room that this process's own arguments have.

    Called before the clone: later the only /proc may be the container's.
    """
    start, end = argument_area()
    room = end - start
    text = b"\0".join((b"sampan-init", b"--", *argv))
    return Title(start=start, text=text[: room - 1].ljust(room, b"\0"))


def become_init(title: Title, *, terminal: bool) -> None:
    """Fork; return in the child, which becomes the program. The parent stays PID 1 and never returns.

    The program gets a process group of its own, in the foreground of its terminal, so that ctrl-C reaches
    it once and not also by way of init.

    Raises:
        OSError: fork is refused: by a limit of processes, or by the container's own filter.
    """
    pthread_sigmask(SIG_BLOCK, _ALL)
    write_memory(title.start, title.text)  # before the program can look; its own title comes with execve
    program = os.fork()
    if program:
        _serve(program)
    os.setpgid(0, 0)
    if terminal:
        os.tcsetpgrp(0, os.getpgrp())
    pthread_sigmask(SIG_SETMASK, ())


def _serve(program: int) -> NoReturn:
    try:
        close_range(0)  # the start channel's end is the sign that the program runs: it must not be held here
        set_name("sampan-init")
        while True:
            number = sigwaitinfo(_ALL).si_signo
            if number == SIGCHLD:
                _reap(program)
            elif number not in _OURS:
                _pass_on(program, number)
    finally:
        os._exit(1)


def _reap(program: int) -> None:
    """Collect every child that ended; with the program's end, end."""
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if result is None:
            return
        if result.si_pid == program:
            killed = result.si_code != os.CLD_EXITED
            os._exit(128 + result.si_status if killed else result.si_status)


def _pass_on(program: int, number: int) -> None:
    try:
        os.kill(program, number)
    except OSError:
        pass  # it has just ended, or belongs to another user by now: what init may not, it cannot
