"""Find every container again after sampand was away, and sweep what nobody owns.

What a row says is what sampand knew last; the run directory and the kernel say what is true. The table of
cases is in docs/engine.md.
"""

from __future__ import annotations

import os
import shutil
import time

import msgspec

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.files.committing import thaw_interrupted
from sampan.engine.images.mounting import ImageMounting
from sampan.engine.lifecycle.ending import KILLED, Ender, finish_removal
from sampan.engine.lifecycle.leftovers import clear_runtime_state, end_shim, kill_process
from sampan.engine.volumes.mount_points import user_mounts
from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError, Unavailable
from sampan.ids import ContainerId, parse_container_id
from sampan.runtime.launcher.client import ExitRecord, ShimHandle, connect_shim, read_exit_record

GONE = 255  # Docker's code for a container whose machine went away under it


class Recovery:
    """One pass at the start of an engine, before anybody else sees it."""

    def __init__(self, core: Core, ender: Ender) -> None:
        self._core = core
        self._ender = ender

    def run(self) -> None:
        """Reconcile every known container, finish removals, sweep the rest."""
        started = time.monotonic()
        containers = [Container(record) for record in self._core.journal.load()]
        health = self._core.health.load()
        for container in containers:
            container.health = health.get(container.id)
            self._restore_volumes(container)
        for broken_id, name in self._core.journal.broken.items():
            self._core.index.reserve_name(name, broken_id)
        for container in containers:
            self._core.index.reserve_name(container.record.name, container.id)
            self._core.index.add(container)
        for container in containers:
            self._reconcile_safely(container)
        self._settle_health(containers)
        self._finish_removals()
        self._sweep()
        running = sum(container.running for container in containers)
        took_ms = int((time.monotonic() - started) * 1000)
        log.info("containers found again", known=len(containers), running=running, took_ms=took_ms)

    def _restore_volumes(self, container: Container) -> None:
        """A container that ran has its volumes mounted; if it has ended meanwhile, its end lets them go."""
        if container.running:
            for mount in user_mounts(container.record):
                if mount.kind == "volume":
                    self._core.volumes.mounting.restore(mount.name, container.id, mount.source)

    @staticmethod
    def _settle_health(containers: list[Container]) -> None:
        """What does not run is unhealthy; only changes while it ran are kept on disk."""
        for container in containers:
            if container.health is not None and not container.running:
                container.health = msgspec.structs.replace(container.health, status="unhealthy")

    def _reconcile_safely(self, container: Container) -> None:
        """One container that cannot be reconciled must not keep the others from coming back."""
        try:
            self._reconcile(container)
            if container.record.host.AutoRemove and container.state.status == "exited":
                self._ender.remove(container, volumes=True)
        except (OSError, SampanError) as exc:
            log.error("container cannot be recovered", container=container.id, reason=repr(exc))

    def _reconcile(self, container: Container) -> None:
        run_dir = self._core.paths.run_dir(container.id)
        if not os.path.isdir(run_dir):
            self._without_run_dir(container)
            return
        try:
            handle = connect_shim(run_dir)
        except (NotFound, Unavailable):
            self._without_shim(container, read_exit_record(run_dir))
            return
        self._adopt(container, handle)

    def _adopt(self, container: Container, handle: ShimHandle) -> None:
        """The shim lives: the container runs, or has ended.

        Its exit record is read after the connection was made: an end before that is in the record (its event
        may have gone to a sampand that was killed), an end after it comes as an event.
        """
        thaw_interrupted(self._core, container)
        status = "paused" if self._is_frozen(container) else "running"
        record = container.with_state(
            status=status,
            pid=handle.pid,
            start_ticks=handle.start_ticks,
            exit_code=0,
            error="",
            oom_killed=False,
            started_at_ns=handle.started_at_ns,
        )
        if record.state != container.state:
            self._core.save_state(record)
        container.record = record
        container.shim = handle
        found = read_exit_record(handle.run_dir)
        if found is None:
            self._ender.watch(container, handle)
        else:
            self._ender.ended(container, found.code, oom_killed=found.oom_killed, at_ns=found.finished_at)

    def _is_frozen(self, container: Container) -> bool:
        manager = self._core.cgroup(container)
        try:
            return manager.frozen()
        except OSError:
            return False  # its cgroup is gone: it has just ended
        finally:
            manager.close()

    def _without_shim(self, container: Container, found: ExitRecord | None) -> None:
        """No shim: take its exit record, or kill what it left; then clear both away."""
        state = container.state
        is_news = found is not None and (container.running or found.started_at != state.started_at_ns)
        if found is not None and is_news:
            self._end(
                container,
                found.code,
                oom_killed=found.oom_killed,
                at_ns=found.finished_at,
                started_at_ns=found.started_at,
            )
        elif container.running:
            if state.pid:
                kill_process(state.pid, state.start_ticks)
            self._end(container, KILLED, oom_killed=False, at_ns=time.time_ns())
        clear_runtime_state(self._core, container.id, cgroup=container.record.cgroup)

    def _without_run_dir(self, container: Container) -> None:
        if not container.running:
            return
        clear_runtime_state(self._core, container.id, cgroup=container.record.cgroup)  # if only /run was lost
        self._end(container, GONE, oom_killed=False, at_ns=time.time_ns())  # the machine was started anew
        if container.state.restart_count:
            container.record = container.with_state(restart_count=0, backoff_s=0.0)
            self._core.save_state(container.record)

    def _end(
        self,
        container: Container,
        code: int,
        *,
        oom_killed: bool,
        at_ns: int,
        started_at_ns: int = 0,
    ) -> None:
        changes = {"status": "running"} | ({"started_at_ns": started_at_ns} if started_at_ns else {})
        container.record = container.with_state(**changes)
        self._ender.ended(container, code, oom_killed=oom_killed, at_ns=at_ns)

    def _finish_removals(self) -> None:
        for container_id in self._core.journal.removals():
            try:
                end_shim(self._core, container_id)
                clear_runtime_state(self._core, container_id, cgroup="")
                finish_removal(self._core, container_id)
            except (OSError, Conflict) as exc:
                log.error("removal cannot be finished", container=container_id, reason=repr(exc))

    def _sweep(self) -> None:
        """Remove run directories and snapshots that no row knows: creates and starts that were cut short."""
        core = self._core
        known = {container.id for container in core.index.all()} | core.journal.broken.keys()
        for container_id in _ids_in(core.paths.run_containers) - known:
            log.warning("sweeping unknown run directory", container=container_id)
            end_shim(core, container_id)
            clear_runtime_state(core, container_id, cgroup="")
        shutil.rmtree(core.paths.private, ignore_errors=True)
        core.store.snapshots.sweep({ContainerId(one) for one in known})
        self._sweep_volumes(known)
        for container_id in _ids_in(core.paths.containers) - known:
            shutil.rmtree(core.paths.bundle(container_id), ignore_errors=True)

    def _sweep_volumes(self, known: set[str]) -> None:
        """Remove volumes that were made for a container that was not, and unmount what nobody uses."""
        core = self._core
        core.store.image_mounts.sweep([*known, *ImageMounting(core).recover()])
        for volume in core.store.volumes.sweep(known):
            try:
                core.volumes.finish_removal(volume)
            except SampanError as exc:
                log.error("removal of a volume cannot be finished", volume=volume.name, reason=exc)
        core.volumes.mounting.settle()
        core.volumes.mounting.sweep()


def _ids_in(folder: str) -> set[str]:
    """Return the names in a folder that are container ids; nothing else is ours to touch."""
    found = set()
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            found.add(str(parse_container_id(name)))
        except InvalidArgument:
            continue
    return found
