"""Let a shim go, and kill and clear what a container left when it was killed or sampand was away."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.records import Record
from sampan.errors import Conflict, NotFound, SampanError, Unavailable
from sampan.kernel import cgroups
from sampan.kernel.process import open_same_process
from sampan.runtime.launcher.client import ShimHandle, connect_shim
from sampan.runtime.lifecycle import delete_container

_DEATH_MS = 10_000


def release_shim(core: Core, container: Container) -> None:
    """Let the shim of the last run go, with cgroup and run directory; at once if that is done already.

    Raises:
        Unavailable: the shim does not answer; the next call tries again.
    """
    with container.release_lock:
        if container.ended_shim is not None:
            container.ended_shim.release()
            container.ended_shim.close()
            container.ended_shim = None
            clear_unowned(core, container.record)  # it was killed while it cleared away


def release_soon(core: Core, container: Container) -> None:
    """Let an ended container's shim go, behind the user's back."""

    def release() -> None:
        try:
            release_shim(core, container)
        except Exception as exc:
            log.warning("shim is not released yet", container=container.id, reason=exc)

    core.releases.submit(release)


def clear_unowned(core: Core, record: Record) -> None:
    """Clear the run directory and cgroup of a container that does not run, if no shim is there to do it."""
    run_dir = core.paths.run_dir(record.id)
    if not os.path.isdir(run_dir):
        return
    try:
        connect_shim(run_dir).close()
    except NotFound:
        log.warning("shim died, clearing up behind it", container=record.id)
        clear_runtime_state(core, record.id, cgroup=record.cgroup)
    except SampanError:
        pass  # one that hangs is still its owner


def kill_leftovers(core: Core, record: Record) -> None:
    """Kill a container's first process and all else in its cgroup, then remove cgroup and run directory.

    Start time and pid together name the process, so a stranger with a reused pid is never met.
    """
    if record.state.pid:
        kill_process(record.state.pid, record.state.start_ticks)
    clear_runtime_state(core, record.id, cgroup=record.cgroup)


def kill_process(pid: int, start_ticks: int) -> bool:
    """Kill a process named by pid and start time, and wait for its end; False if it is gone already."""
    try:
        pidfd = open_same_process(pid, start_ticks)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_DEATH_MS):
            log.error("process does not die", pid=pid)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
    return True


def clear_runtime_state(core: Core, container_id: str, *, cgroup: str) -> None:
    """Remove the cgroup (killing what is in it), the runtime's state and the run directory of a container."""
    try:
        delete_container(core.paths.run_containers, container_id, force=True)
    except (NotFound, Conflict):
        pass  # another runtime's, or half made: the cgroup and the directory are all there is
    except SampanError as exc:
        log.warning("runtime state cannot be cleared", container=container_id, reason=exc)
    if cgroup:
        _delete_cgroup(core, container_id, cgroup)
    shutil.rmtree(core.paths.run_dir(container_id), ignore_errors=True)


def end_shim(core: Core, container_id: str) -> None:
    """End a container that nobody knows any more, and its shim."""
    try:
        handle = connect_shim(core.paths.run_dir(container_id))
    except (NotFound, Unavailable):
        return
    try:
        kill_process(handle.pid, handle.start_ticks)
        _release(handle)
    except SampanError as exc:
        log.warning("shim does not end", container=container_id, shim=handle.shim_pid, reason=exc)
    finally:
        handle.close()


def _release(handle: ShimHandle) -> None:
    """Release a shim whose container was killed; it may need a moment to notice."""
    deadline = time.monotonic() + _DEATH_MS / 1000
    while True:
        try:
            handle.release()
        except Conflict:
            if time.monotonic() > deadline:
                raise
            select.select([handle.fd], [], [], 0.05)
            handle.read_events()
        else:
            return


def _delete_cgroup(core: Core, container_id: str, path: str) -> None:
    manager = cgroups.open_manager(core.hierarchy, path)
    try:
        manager.kill()
        manager.delete()
    except OSError as exc:
        log.warning("cgroup cannot be removed", container=container_id, cgroup=path, reason=exc)
    finally:
        manager.close()
