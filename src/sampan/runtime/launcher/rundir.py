"""The files of a shim in `<run-root>/containers/<id>/`, beside those of the runtime. Lean."""

from __future__ import annotations

import os
from _socket import SOCK_SEQPACKET

from sampan import fastjson
from sampan.errors import Conflict
from sampan.kernel.process import start_ticks
from sampan.kernel.sockets import connect_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.runtime.requests import Plank

SOCKET = "shim.sock"
PID = "shim.pid"
EXIT = "exit.json"
REPORT = "report.json"
NOTES = "shim.log"  # only when something went wrong that nobody could be told

_FILE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def forget_earlier_run(run_dir: str) -> None:
    """Remove our files of an earlier run of the same container: the runtime wants the folder empty or gone.

    Raises:
        Conflict: its shim still answers.
    """
    if not os.access(run_dir, os.F_OK):
        return
    try:
        connect_at(run_dir, SOCKET, SOCK_SEQPACKET).close()
    except OSError:  # no socket, or nobody behind it
        remove_all(run_dir)
        return
    raise Conflict(f"the container at {run_dir} is running, or was not released")


def remove_all(run_dir: str) -> None:
    """Remove every file of ours, and the folder if that leaves it empty."""
    remove(run_dir, with_record=True)


def claim(run_dir: str) -> None:
    """Make the folder if need be, and write `<pid> <start ticks>` of this shim there.

    Raises:
        OSError: errno and filename are set.
    """
    make_directory(run_dir)
    write_new(f"{run_dir}/{PID}", f"{os.getpid()} {start_ticks('self')}\n".encode())


def make_directory(run_dir: str) -> None:
    """Make the folder if it is not there."""
    try:
        os.mkdir(run_dir, 0o700)
    except FileExistsError:
        pass


def write_report(run_dir: str, planks: Sequence[Plank]) -> None:
    """Keep the runtime's notes of the start for `ShimHandle.report`."""
    lines = [plank.__dict__ for plank in planks]
    write_new(f"{run_dir}/{REPORT}", fastjson.dumps(lines).encode())


def note(run_dir: str, text: str) -> None:
    """Append a line for whoever looks into the folder; best effort."""
    try:
        fd = open_notes(run_dir)
    except OSError:
        return
    try:
        os.write(fd, f"{text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
    finally:
        os.close(fd)


def open_notes(run_dir: str) -> int:
    """Open the notes to append to them."""
    return os.open(f"{run_dir}/{NOTES}", _FILE | os.O_APPEND, 0o600)


def remove(run_dir: str, *, with_record: bool) -> None:
    """Remove our files, and the folder once it is empty; exit record and notes only if they were read."""
    _unlink(run_dir, (SOCKET, PID, REPORT))
    if with_record:
        _unlink(run_dir, (EXIT, NOTES))
    try:
        os.rmdir(run_dir)
    except OSError:
        pass  # the runtime's state, the record or someone else's file is in it: recovery looks there


def write_new(path: str, data: bytes) -> None:
    """Write a file of ours, for this user only."""
    fd = os.open(path, _FILE | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _unlink(run_dir: str, names: Sequence[str]) -> None:
    for name in names:
        try:
            os.unlink(f"{run_dir}/{name}")
        except OSError:
            pass  # never made, or the whole folder is gone
