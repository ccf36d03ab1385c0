"""Act on a container that exists: signals, freezing, limits, processes, usage. Lean."""

from __future__ import annotations

import os

from sampan.errors import Conflict, Unsupported
from sampan.kernel import process
from sampan.runtime.devices import plan_rules
from sampan.runtime.state import load_state, require_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups import CgroupManager
    from sampan.runtime.state import State
    from sampan.spec.runtime import LinuxResources

_SIGKILL = 9


def kill_container(state_root: str, id: str, signal: int, *, everyone: bool = False) -> None:
    """Send a signal to init, or to every process inside; never to a stranger with a reused pid.

    Raises:
        NotFound: there is no such container.
        Conflict: it is not running (everyone: nothing of it is left).
    """
    state = load_state(state_root, id)
    if everyone:
        _kill_everyone(state, signal)
        return
    status = require_status(state, ("creating", "created", "running", "paused"), "kill")
    try:
        pidfd = state.open_init()
    except OSError as exc:
        raise Conflict(f"cannot kill container {id!r}: container not running") from exc
    try:
        process.pidfd_send_signal(pidfd, signal)
    finally:
        os.close(pidfd)
    if status == "paused" and signal == _SIGKILL:
        resume_container(state_root, id)  # a frozen process dies only when it is thawed (v1)


def _kill_everyone(state: State, signal: int) -> None:
    manager = _cgroup(state)
    try:
        if signal == _SIGKILL:
            manager.kill()
            return
        for pid in manager.pids():
            _signal_member(manager, pid, signal)
    finally:
        manager.close()


def _signal_member(manager: CgroupManager, pid: int, signal: int) -> None:
    """Signal a process if it is in the cgroup still, once its descriptor cannot become another's."""
    try:
        pidfd = process.pidfd_open(pid)
    except OSError:
        return
    try:
        if pid in manager.pids():
            process.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def pause_container(state_root: str, id: str) -> None:
    """Freeze every process of a running container.

    Raises:
        NotFound; Conflict: it is not running, or paused already.
    """
    state = load_state(state_root, id)
    require_status(state, ("created", "running"), "pause")
    manager = _cgroup(state)
    try:
        manager.freeze()
    finally:
        manager.close()


def resume_container(state_root: str, id: str) -> None:
    """Let a paused container go on.

    Raises:
        NotFound; Conflict: it is not paused.
    """
    state = load_state(state_root, id)
    manager = _cgroup(state)
    try:
        if not manager.frozen():
            raise Conflict(f"cannot resume container {id!r}: it is {state.status()}")
        manager.thaw()
    finally:
        manager.close()


def update_container(state_root: str, id: str, resources: LinuxResources) -> None:
    """Write new limits; absent ones stay. Device rules are replaced if there are any.

    Raises:
        NotFound; Conflict: it has stopped. InvalidArgument, Unsupported: a limit; the message names it.
    """
    state = load_state(state_root, id)
    require_status(state, ("created", "running", "paused"), "update")
    manager = _cgroup(state)
    try:
        manager.apply(resources)
        if resources.devices:
            manager.apply_devices(plan_rules(resources.devices))
    finally:
        manager.close()


def container_processes(state_root: str, id: str) -> list[int]:
    """Return the host pids of everything inside. Raises NotFound."""
    manager = _cgroup(load_state(state_root, id))
    try:
        return manager.pids()
    finally:
        manager.close()


def container_stats(state_root: str, id: str) -> dict[str, JsonValue]:
    """Return the cgroup's usage, shaped as `data` in runc's `events --stats`.

    Raises:
        NotFound; Conflict: it has stopped.
    """
    state = load_state(state_root, id)
    require_status(state, ("created", "running", "paused"), "read the statistics of")
    manager = _cgroup(state)
    try:
        return manager.stats()
    finally:
        manager.close()


def _cgroup(state: State) -> CgroupManager:
    if not state.cgroup_path:
        raise Unsupported(f"container {state.id!r} has no cgroup")
    return state.cgroup()
