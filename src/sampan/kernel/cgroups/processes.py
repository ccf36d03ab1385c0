"""The processes inside a cgroup: listed, killed, waited for. Lean (decision 0002)."""

from __future__ import annotations

import errno
import os
import time

from sampan.errors import Conflict
from sampan.kernel.process import pidfd_open, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from signal import SIGKILL

    from sampan.kernel.cgroups.directory import Directory
else:
    from _signal import SIGKILL  # `signal` imports enum

_HANDLES = 256  # processes signalled at once: each needs a descriptor
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


def attach(directory: Directory, pid: int) -> None:
    """Move a process into a cgroup from outside.

    Raises:
        OSError: ESRCH: there is no such process; EBUSY, EOPNOTSUPP: this v2 cgroup takes no processes.
    """
    for attempt in range(_ATTEMPTS):
        try:
            directory.write("cgroup.procs", str(pid))
            return
        except OSError as exc:
            # EINVAL may mean that the process is not yet fully there (TASK_NEW; runc issue 1755).
            if exc.errno != errno.EINVAL or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_LONGEST_PAUSE_S)


def check_unused(directory: Directory) -> None:
    """Refuse a cgroup that was there before us and is in use: it would be limited, killed and removed.

    Raises:
        Conflict: processes are inside, or it is frozen.
    """
    pids = read_pids(directory, recursive=True)
    if pids:
        raise Conflict(
            f"cgroup {directory.path} is in use by other processes, such as {pids[0]}",
            hint="choose another cgroup path, or end what runs there",
        )
    if _is_frozen(directory):
        raise Conflict(f"cgroup {directory.path} is frozen", hint="thaw it, or choose another cgroup path")


def _is_frozen(directory: Directory) -> bool:
    v2, v1 = directory.find("cgroup.freeze"), directory.find("freezer.self_freezing")
    return (v2 or v1 or "0").strip() == "1"


def read_pids(directory: Directory, *, recursive: bool) -> list[int]:
    """Return the processes in a cgroup, in order; of one that is gone, none.

    Processes outside this pid namespace show as 0 and are left out: signalling 0 would hit ourselves.
    """
    pids = _pids_of(directory)
    if recursive:
        for below in directory.walk():
            pids |= _pids_of(below)
    return sorted(pids)


def _pids_of(directory: Directory) -> set[int]:
    try:
        text = directory.read("cgroup.procs")
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENODEV):
            return set()
        if exc.errno == errno.EOPNOTSUPP:  # a threaded cgroup: its domain lists the processes
            return set()
        raise
    return {int(line) for line in text.split()} - {0}


def kill_listed(list_pids: Callable[[], list[int]]) -> None:
    """Send SIGKILL to every process that is listed before and after a handle on it was opened.

    So a number that was given to a stranger in between is never signalled.
    """
    pids = list_pids()
    for start in range(0, len(pids), _HANDLES):
        _kill_some(pids[start : start + _HANDLES], list_pids)


def _kill_some(pids: list[int], list_pids: Callable[[], list[int]]) -> None:
    handles: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                handles[pid] = pidfd_open(pid)
            except OSError as exc:
                # EINVAL: the leader has ended and other threads of it live on; the next round finds them.
                if exc.errno not in (errno.ESRCH, errno.EINVAL):
                    raise
        for pid in handles.keys() & set(list_pids()):
            try:
                pidfd_send_signal(handles[pid], SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself
    finally:
        for handle in handles.values():
            os.close(handle)


def wait_until(done: Callable[[], bool], *, timeout_s: float, what: str, path: str) -> None:
    """Ask again and again, after growing pauses, until done answers True.

    Raises:
        OSError: ETIMEDOUT, with what and path in it.
    """
    deadline = time.monotonic() + timeout_s
    pause = _FIRST_PAUSE_S
    while not done():
        if time.monotonic() > deadline:
            raise OSError(errno.ETIMEDOUT, f"{what}: not done after {timeout_s:g} s", path)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
