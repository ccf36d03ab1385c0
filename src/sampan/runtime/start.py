"""Start a created container, from any process. Lean. The fifo is explained in docs/runtime-protocol.md."""

from __future__ import annotations

import errno
import os
import select

from sampan import fastjson
from sampan.errors import Conflict
from sampan.kernel import process
from sampan.runtime import handshake
from sampan.runtime.state import FIFO, START_ERROR, load_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.state import State

_SIGKILL = 9


def start_container(state_root: str, id: str) -> None:
    """Let a created container run its program; return once execve has worked.

    Raises:
        NotFound: there is no such container.
        Conflict: it was started before, or has ended.
        CommandNotFound, CommandNotExecutable: the program cannot be run; the container has ended.
        SampanError: a startContainer or poststart hook failed; the container has ended, or is killed.
    """
    start_loaded(load_state(state_root, id))


def start_loaded(state: State) -> None:
    """Do the same for a container whose state is at hand."""
    fifo = _open_fifo(state)
    try:
        os.write(fifo, b"0")
        _wait_without_reader(fifo)
    finally:
        os.close(fifo)
    _raise_start_error(state)
    run_poststart(state)


def _open_fifo(state: State) -> int:
    """Open the fifo for writing; that fails unless the child still waits at the other end."""
    try:
        return os.open(f"{state.directory}/{FIFO}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno not in (errno.ENXIO, errno.ENOENT):
            raise
        status = state.status()
        if status == "stopped":
            raise Conflict(f"cannot start container {state.id!r}: it has stopped") from exc
        raise Conflict(f"cannot start container {state.id!r}: it is {status}") from exc


def _wait_without_reader(fifo: int) -> None:
    """Wait until nobody reads the fifo any more: execve closed the child's descriptor, or it has ended."""
    poll = select.poll()
    poll.register(fifo, 0)  # POLLERR is always reported
    poll.poll()


def _raise_start_error(state: State) -> None:
    with open(f"{state.directory}/{START_ERROR}", "rb") as file:
        raw = file.read()
    if raw:
        message = fastjson.loads(raw)
        assert isinstance(message, dict)  # our own child wrote it
        handshake.raise_child_error(message)


def run_poststart(state: State) -> None:
    """Run the poststart hooks of a container that has just been started; one that fails has it killed."""
    wanted = state.hooks().poststart
    if not wanted:
        return
    from sampan.runtime.hooks import encode_state, run_hooks

    try:
        run_hooks("poststart", wanted, encode_state(state.oci("running")))
    except BaseException:
        _kill(state)
        raise


def _kill(state: State) -> None:
    try:
        pidfd = state.open_init()
    except OSError:
        return
    try:
        process.pidfd_send_signal(pidfd, _SIGKILL)
    finally:
        os.close(pidfd)
