"""What a container's first process does with a signal, read from /proc before the signal is sent.

The kernel drops a signal for the first process of a pid namespace unless it is handled or blocked
(kernel/signal.c, sig_task_ignored; pid_namespaces(7)). A stop that sends such a signal waits in vain.
"""

from __future__ import annotations

from typing import Literal

from sampan.engine.container import Container
from sampan.kernel.process import read_status, start_ticks

Disposition = Literal["noticed", "ignored", "unhandled", "unknown"]
_KILL, _STOP = 9, 19
_HARMLESS = frozenset((17, 18, 23, 28))  # CHLD, CONT, URG, WINCH: their default action is to do nothing


def read_disposition(container: Container, number: int) -> Disposition:
    """Tell what becomes of a signal: `unhandled` and `ignored` have no effect at all."""
    state = container.state
    try:
        status = read_status(state.pid)
        if not state.pid or start_ticks(state.pid) != state.start_ticks:
            return "unknown"
    except (OSError, ValueError):
        return "unknown"
    return judge(status, number)


def judge(status: dict[str, str], number: int) -> Disposition:
    """Judge by the fields of /proc/<pid>/status.

    A blocked signal is kept for who will wait for it (sigwait, signalfd), so it counts as noticed.
    """
    if number in (_KILL, _STOP) or _has(status, "SigCgt", number) or _has(status, "SigBlk", number):
        return "noticed"
    if _has(status, "SigIgn", number):
        return "ignored"
    is_first = status.get("NSpid", "").split()[-1:] == ["1"]
    # For all but the first the default action ends the process.
    return "unhandled" if is_first or number in _HARMLESS else "noticed"


def _has(status: dict[str, str], field: str, number: int) -> bool:
    return bool(int(status.get(field, "0"), 16) >> (number - 1) & 1)


def program_name(container: Container) -> str:
    """Return the name of the first process, "" when it is gone; control characters of it are replaced."""
    try:
        name = read_status(container.state.pid).get("Name", "") if container.state.pid else ""
    except OSError:
        return ""
    return "".join(character if character.isprintable() else "?" for character in name)
