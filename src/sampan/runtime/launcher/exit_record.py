"""exit.json: how a container ended, written once, before anybody is told. Lean.

No kill loses it. Against a loss of power it is synced, but only where sampand does not take it over at once:
to sync it first would cost each end two writes of the disk that the user waits for.
"""

from __future__ import annotations

import os

from sampan import fastjson
from sampan.errors import InvalidArgument
from sampan.kernel.files import read_file
from sampan.runtime.launcher.messages import ExitRecord
from sampan.runtime.launcher.rundir import EXIT, write_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")


def write_exit_record(run_dir: str, record: ExitRecord) -> None:
    """Write `<run_dir>/exit.json`: there at once and whole, not yet synced.

    Raises:
        OSError: errno is set; an older record is untouched.
    """
    new = f"{run_dir}/.{EXIT}.new"
    write_new(new, (fastjson.dumps(record.__dict__) + "\n").encode())
    os.rename(new, f"{run_dir}/{EXIT}")


def sync_exit_record(run_dir: str) -> None:
    """Bring the record, if it is still there, and its name to the disk. OSError: errno is set."""
    for path in (f"{run_dir}/{EXIT}", run_dir):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def read_exit_record(run_dir: str) -> ExitRecord | None:
    """Return how the container of run_dir ended, or None if it has no record, or one that is damaged."""
    try:
        raw = fastjson.loads(read_file(f"{run_dir}/{EXIT}", limit_bytes=4096))
    except (FileNotFoundError, InvalidArgument):
        return None
    if not isinstance(raw, dict):
        return None
    try:
        return ExitRecord(
            id=_typed(raw["id"], str),
            code=_typed(raw["code"], int),
            signal=_typed(raw["signal"], int),
            oom_killed=_typed(raw["oom_killed"], bool),
            started_at=_typed(raw["started_at"], int),
            finished_at=_typed(raw["finished_at"], int),
        )
    except (KeyError, TypeError):
        return None


def _typed(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
