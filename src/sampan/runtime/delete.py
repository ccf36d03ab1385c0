"""Remove what a container was made of. Lean."""

from __future__ import annotations

import errno
import os
import select

from sampan import log
from sampan.errors import Conflict, NotFound, SampanError
from sampan.kernel import process
from sampan.runtime.state import FIFO, INIT, NEW_FIFO, SECCOMP, START_ERROR, load_state, sweep_hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.state import State
    from sampan.spec.runtime import Hook, OciState

_SIGKILL = 9
_FILES = (INIT, FIFO, NEW_FIFO, START_ERROR, SECCOMP, "state.json")


def delete_container(state_root: str, id: str, *, force: bool = False) -> None:
    """Remove a stopped container's cgroup and state and run its poststop hooks; force kills it first.

    Raises:
        NotFound: there is no such container, and force is not set.
        Conflict: it still runs, and force is not set.
    """
    try:
        state = load_state(state_root, id)
    except NotFound:
        sweep_hidden(state_root, id)
        if force:
            return
        raise
    status = state.status()
    if status != "stopped":
        if not force:
            raise Conflict(
                f"cannot delete container {id!r} that is not stopped: {status}",
                hint="stop it, or use --force",
            )
        kill_everything(state)
    _delete_cgroup(state)
    run_stop_hooks(state.hooks().poststop, state.oci("stopped"))
    remove_state_directory(state.directory)


def _send_kill(pidfd: int) -> None:
    try:
        process.pidfd_send_signal(pidfd, _SIGKILL)
    except ProcessLookupError:
        pass  # it has ended since it was looked at, and whoever is its parent has reaped it


def kill_everything(state: State) -> None:
    """Kill init and every process in the cgroup; return once they are gone.

    Init first: it takes its pid namespace with it. What is frozen dies only when it is thawed (v1).
    """
    try:
        pidfd = state.open_init()
    except OSError:
        pidfd = -1
    manager = state.cgroup() if state.cgroup_path else None
    try:
        if pidfd >= 0:
            _send_kill(pidfd)
        if manager is not None and manager.frozen():
            manager.thaw()
        if pidfd >= 0:
            _wait_gone(pidfd)
        if manager is not None:
            manager.kill()
    finally:
        if manager is not None:
            manager.close()
        if pidfd >= 0:
            os.close(pidfd)


def _wait_gone(pidfd: int) -> None:
    """Wait until a process has ended, whoever its parent is."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(10_000)


def _delete_cgroup(state: State) -> None:
    if not state.cgroup_path:
        return
    manager = state.cgroup()
    try:
        if manager.pids():
            manager.kill()  # without a pid namespace of its own, init's end leaves the others alive
        manager.delete()
    finally:
        manager.close()


def run_stop_hooks(wanted: tuple[Hook, ...], state: OciState) -> None:
    """Run poststop hooks; one that fails is logged and the others still run (runtime.md, "Lifecycle")."""
    if not wanted:
        return
    from sampan.runtime.hooks import encode_state, run_hooks

    for hook in wanted:
        try:
            run_hooks("poststop", (hook,), encode_state(state))
        except SampanError as exc:
            log.warning("hook failed", hook=hook.path, why=str(exc))


def remove_state_directory(directory: str) -> None:
    """Remove a container's state directory; a file in it that is not ours is left, with the directory."""
    for name in _FILES:
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            continue
    try:
        os.rmdir(directory)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise
