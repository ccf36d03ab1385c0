"""How containers end: the shim's news, what follows from them, and removal.

```
 shim: exited ──► state and `die` in one transaction ──► waits wake ──► AutoRemove: remove ──► files go in the
                                                     │                                             background
                                                     ├─► else: shim, cgroup, run directory go
                                                     └─► restart policy: back-off (restarting.py)
 shim: lost (killed) ──► its exit record, or kill what is left and 137 ──► as above
```
"""

from __future__ import annotations

import time
from functools import partial

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.execs.execs import ExecTable
from sampan.engine.health.probing import Prober
from sampan.engine.lifecycle.leftovers import kill_leftovers, release_shim, release_soon
from sampan.engine.lifecycle.restarting import Restarter, backoff_after
from sampan.engine.observing.events import container_event
from sampan.engine.records import Record, Status
from sampan.engine.supervisor import Last
from sampan.engine.types import WaitResult
from sampan.engine.volumes.mount_points import user_mounts
from sampan.engine.volumes.mount_preparing import unmount_events, volume_names
from sampan.engine.volumes.volumes import volume_event
from sampan.errors import Conflict
from sampan.ids import ContainerId
from sampan.runtime.launcher.client import (
    Detached,
    ExecExited,
    Exited,
    LogTrouble,
    Lost,
    ShimHandle,
    read_exit_record,
)
from sampan.spec import docker
from sampan.store.volumes import Volume

KILLED = 137  # 128 + SIGKILL
_COPY_S = 10.0


class Ender:
    """Follows running containers to their end, and removes them."""

    def __init__(self, core: Core, execs: ExecTable, restarter: Restarter, prober: Prober) -> None:
        self._core = core
        self._prober = prober
        self._execs = execs
        self._restarter = restarter

    def watch(self, container: Container, handle: ShimHandle) -> None:
        """Follow a container that has just been started, or was found running."""
        self._core.supervisor.watch(handle.fd, lambda: self._read_events(container, handle))
        self._prober.begin(container)

    def _read_events(self, container: Container, handle: ShimHandle) -> Last | None:
        """Handle what the shim says; the answer is what to do when it will say nothing more."""
        for event in handle.read_events():
            match event:
                case Exited():
                    return partial(
                        self.ended, container, event.code, oom_killed=event.oom_killed, at_ns=event.at_ns
                    )
                case Lost():
                    return partial(self._lost, container, handle)
                case ExecExited():
                    self._execs.ended(container, handle, event)
                case Detached():
                    self._detached(container, event)
                case LogTrouble():
                    log.warning(
                        "log records dropped", container=container.id, dropped_bytes=event.dropped_bytes
                    )
        return None

    def _detached(self, container: Container, event: Detached) -> None:
        if event.reason == "keys":
            self._core.events.emit(container_event(container, "detach"))

    def _lost(self, container: Container, handle: ShimHandle) -> None:
        """The shim was killed: its container died with it, unless the exit was written down just before."""
        found = read_exit_record(handle.run_dir)
        if found is not None:
            self.ended(container, found.code, oom_killed=found.oom_killed, at_ns=found.finished_at)
            return
        log.warning("shim died, killing its container", container=container.id, shim=handle.shim_pid)
        kill_leftovers(self._core, container.record)
        self.ended(container, KILLED, oom_killed=False, at_ns=time.time_ns())

    def ended(self, container: Container, code: int, *, oom_killed: bool, at_ns: int) -> None:
        """A container's program has ended: remember it, tell everybody, remove it if that was wanted."""
        with container.lock:
            if not container.running:
                return
            again = self._restarter.wants(container, exit_code=code)
            status: Status = "restarting" if again else "exited"
            record = container.with_state(
                status=status,
                pid=0,
                start_ticks=0,
                exit_code=code,
                oom_killed=oom_killed,
                finished_at_ns=at_ns,
                restart_count=container.state.restart_count + again,
                backoff_s=backoff_after(container.state, at_ns=at_ns) if again else 0.0,
            )
            container.ended_shim, container.shim = container.shim, None
            self._prober.end(container)
            events = [
                container_event(container, "kill", signal=str(signal)) for signal in container.untold_signals
            ]
            container.untold_signals.clear()
            if oom_killed:
                events.append(container_event(container, "oom"))
            events += self._core.networking.detach(container.id)
            events += unmount_events(record)
            events.append(_die_event(container, record))
            saved = self._core.save_state(record, *events)
            # Before anybody can start it again, who would then lose what this lets go.
            self._core.volumes.mounting.release_soon(volume_names(record), container.id)
            container.record = record
        container.end_listeners()
        self._execs.container_ended(container)
        self._core.events.publish(*events)
        keep = container.restarting  # asked before a restart's wait wakes and goes on
        container.waits.ended(container.result())
        if saved:  # otherwise the exit record must stay: it is all that tells of the end
            self._clear_away(container, keep=keep)
        if again:
            self._restarter.schedule(container)

    def _clear_away(self, container: Container, *, keep: bool = False) -> None:
        if keep or not container.record.host.AutoRemove:
            release_soon(self._core, container)
            return
        try:
            self.remove(container, volumes=True)
        except Conflict as exc:  # a user removes it, or has started it again
            log.info("container is not removed by itself", container=container.id, reason=exc)

    def after_failed_start(self, container: Container) -> None:
        """A start failed: wake the waits for an exit, and remove an AutoRemove container.

        The error is for who started it; in the answer of a wait docker's client would print it once more.
        """
        container.end_listeners()
        container.waits.ended(WaitResult(status_code=container.state.exit_code))
        if container.record.host.AutoRemove:
            self._clear_away(container)

    def remove(self, container: Container, *, volumes: bool = False) -> None:
        """Forget a container that does not run; its files go in the background.

        volumes: its anonymous volumes too, those that no other container has.

        Raises:
            Conflict: it runs, or is being removed.
        """
        with container.lock:
            if container.removed:
                raise Conflict(f"removal of container {container.id} is already in progress")
            if container.active:
                raise Conflict(_cannot_remove(container))
            events = [container_event(container, "destroy")]
            with self._core.journal.transaction():
                self._core.journal.begin_removal(container.id)
                self._core.health.forget(container.id)
                gone = self._give_up_volumes(container.record, anonymous=volumes)
                events[:0] = [volume_event(volume, "destroy") for volume in gone]
                for event in events:
                    self._core.journal.add_event(event)
            container.removed = True
            container.drop_pending()
        core = self._core
        core.index.remove(container)
        container.end_listeners()
        core.events.publish(*events)
        self._execs.container_removed(container)
        container.waits.removed(container.result())
        core.removals.submit(lambda: finish_removal(core, container.id, container))
        for volume in gone:
            core.removals.submit(partial(core.volumes.finish_removal, volume))

    def _give_up_volumes(self, record: Record, *, anonymous: bool) -> list[Volume]:
        """The container has its volumes no more; return the ones that go with it."""
        kept = self._core.store.volumes
        kept.release(record.id)
        names = [mount.name for mount in user_mounts(record) if mount.anonymous and anonymous]
        return [gone for name in dict.fromkeys(names) if (gone := kept.mark_removed(name)) is not None]


def finish_removal(core: Core, container_id: str, container: Container | None = None) -> None:
    """Delete what a forgotten container left; may be run again after a crash."""
    if container is not None:
        release_shim(core, container)
        container.file_users.wait_until_none(_COPY_S)  # then a copy under way ends in an error
    core.volumes.mounting.settle()
    core.store.image_mounts.release(container_id)
    core.store.snapshots.remove(ContainerId(container_id))
    core.journal.end_removal(container_id)


def _die_event(container: Container, record: Record) -> docker.Event:
    state = record.state
    duration_s = max(0, state.finished_at_ns - state.started_at_ns) // 10**9
    return container_event(container, "die", exitCode=str(state.exit_code), execDuration=str(duration_s))


def _cannot_remove(container: Container) -> str:
    status = container.state.status
    advice = (
        "paused and must be unpaused first"
        if status == "paused"
        else f"{status}: stop the container before removing or force remove"
    )
    return f'cannot remove container "/{container.record.name}": container is {advice}'
