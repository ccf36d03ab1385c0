"""Starting sampand. Loaded only when none answers, or by `sampan system start`. Lean."""

from __future__ import annotations

import os
import select
import sys
import time

from sampan.cli.outcome import Failed, complain
from sampan.client.address import connect
from sampan.errors import Unavailable
from sampan.settings import default_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal as _signal
    from collections.abc import Sequence

    from sampan.client.address import Address
else:
    import _signal

_READY_S = 30.0  # a first start makes directories and a database
_RACE_S = 2.0  # another command has just started it
_RETRY_S = 0.02
_READY_FD = 3
# What a daemon may take over from whoever happened to start it; no sockets or watchdogs of another service.
_ENVIRONMENT = frozenset(("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"))


def start_and_connect(address: Address) -> _socket.socket:
    """Start sampand on this user's own roots, say so, and connect to it.

    Raises:
        Unavailable: it could not be started; the message is sampand's own.
    """
    complain("sampand does not run: starting it ('sampan system stop' ends it)")
    failure = start([])
    deadline = time.monotonic() + (_RACE_S if failure else _READY_S)
    while True:
        try:
            return connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as exc:
            # Two commands may start it at the same time: one sampand gives up, the other answers soon.
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"cannot start sampand: {failure or 'it does not answer'}", hint=_log_hint()
                ) from exc
            time.sleep(_RETRY_S)


def start(arguments: Sequence[str]) -> str:
    """Start sampand with these arguments and wait until it is ready; return its complaint, if it has one.

    Raises:
        Failed: there is no program `sampand` beside this command or on PATH.
    """
    program = _find_program()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        _spawn([program, *arguments, "--ready-fd", str(_READY_FD)], writing)
    finally:
        os.close(writing)
    try:
        return _wait_ready(reading)
    finally:
        os.close(reading)


def log_path() -> str:
    """Return the file that a sampand started here writes its log to."""
    return f"{default_roots().data}/sampand.log"


def _log_hint() -> str:
    return f"its log is {log_path()}"


def _find_program() -> str:
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "sampand")
    folders = os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(
        ":"
    )
    for path in (beside, *(os.path.join(folder, "sampand") for folder in folders if folder.startswith("/"))):
        if os.access(path, os.X_OK):
            return path
    raise Failed(f"there is no program sampand: neither {beside} nor on PATH", code=1)


def _spawn(command: list[str], ready: int) -> None:
    """Start a program that belongs to no terminal and no directory, and survives us."""
    os.makedirs(os.path.dirname(log_path()), mode=0o700, exist_ok=True)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_DUP2, ready, _READY_FD),
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log_path(), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = {
        key: value for key, value in os.environ.items() if key in _ENVIRONMENT or key.startswith("LC_")
    }
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    old_mask = os.umask(0o022)
    try:
        os.chdir("/")  # inherited: a daemon in the user's directory would keep its file system busy
        os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),  # Python ignores both, and that is inherited
        )
    finally:
        os.umask(old_mask)
        os.fchdir(here)
        os.close(here)


def _wait_ready(reading: int) -> str:
    """Return nothing once sampand says `ready`, else what it says, or that it said nothing."""
    poller = select.poll()
    poller.register(reading, select.POLLIN)
    said, deadline = b"", time.monotonic() + _READY_S
    while not said.endswith(b"\n"):
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return f"it was not ready after {_READY_S:.0f} s"
        piece = os.read(reading, 4096)
        if not piece:
            break
        said += piece
    line = said.decode(errors="replace").strip()
    return "" if line == "ready" else line.removeprefix("error: ") or "it ended at once"
