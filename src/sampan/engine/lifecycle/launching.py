"""Start a container: write its bundle, have the launcher run it, remember that it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec

from sampan import log
from sampan.engine.bundle.plan import Joins
from sampan.engine.bundle.process import merge_environment
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.images.layer_views import root_mount
from sampan.engine.lifecycle.ending import Ender
from sampan.engine.lifecycle.joins import OpenJoins
from sampan.engine.lifecycle.leftovers import clear_unowned, release_shim
from sampan.engine.lifecycle.planning import plan_bundle
from sampan.engine.lifecycle.states import check_transition
from sampan.engine.logs.settings import log_settings
from sampan.engine.networks.container_files import tell_linked, write_host_files, write_new
from sampan.engine.observing.events import container_event
from sampan.engine.records import Record
from sampan.engine.volumes.mount_preparing import mount_events, prepare_mounts, release_mounts
from sampan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    NotModified,
    SampanError,
    Unavailable,
)
from sampan.ids import ContainerId
from sampan.runtime.launcher.client import ShimHandle, ShimRequest

EXPLAIN = "org.sampan.explain"  # annotation: have the runtime note its steps
_COPY_S = 30.0  # one root file system must not be mounted twice for writing


class Starter:
    """Starts containers."""

    def __init__(self, core: Core, ender: Ender) -> None:
        self._core = core
        self._ender = ender

    def start(self, container: Container, *, restart_count: int = 0) -> None:
        """See `Containers.start`. restart_count: what RestartCount shows from then on."""
        with container.lock:
            if container.removed:
                raise Conflict("container is marked for removal and cannot be started")
            if container.state.status in ("running", "restarting"):
                raise NotModified(f"container {container.id} is running already")
            if container.state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            check_transition(container.id, container.state.status, "running")
            container.record = container.with_state(backoff_s=0.0)
            try:
                self._run(container, restart_count=restart_count)
            except Exception as exc:
                self._failed(container, exc)
                raise

    def start_again(self, container: Container) -> bool:
        """Start a container whose back-off is over; False if it waits for its restart no more.

        Raises:
            SampanError, OSError: it cannot be started; its state is as it was.
        """
        with container.lock:
            if container.removed or container.state.status != "restarting":
                return False
            self._run(container, restart_count=container.state.restart_count)
            return True

    def _run(self, container: Container, *, restart_count: int) -> None:
        if not container.file_users.wait_until_none(_COPY_S):
            raise Conflict(
                f"cannot start container {container.id}: its files are being copied",
                hint="try again when that has ended",
            )
        release_shim(self._core, container)
        clear_unowned(self._core, container.record)  # of a start whose shim was killed
        try:
            handle = self._launch(container)
        except Unavailable:
            clear_unowned(self._core, container.record)
            raise
        self._started(container, handle, restart_count=restart_count)

    def _launch(self, container: Container) -> ShimHandle:
        record = container.record
        core = self._core
        with open_surroundings(core, record) as joins:
            if record.host.Links:
                record = _with_links(core, record)
            request = self._write_bundle(record, joins)
            return core.launchers.start(request, container.pending)

    def _write_bundle(self, record: Record, joins: Joins) -> ShimRequest:
        core = self._core
        snapshot = core.store.snapshots.get(ContainerId(record.id))
        user = core.users.find(record, snapshot)
        mounts = prepare_mounts(core, record, user=user)
        bundle = plan_bundle(core, record, user=user, joins=joins, mounts=mounts)
        folder = core.paths.bundle(record.id)
        write_new(f"{folder}/config.json", msgspec.json.encode(bundle.document), mode=0o600)
        return ShimRequest(
            id=record.id,
            run_dir=core.paths.run_dir(record.id),
            bundle=folder,
            log=log_settings(core, record),
            root_mount=root_mount(snapshot),
            terminal=record.config.Tty,
            open_stdin=record.config.OpenStdin,
            stdin_once=record.config.StdinOnce,
            console_size=_console_size(record),
            runtime=core.runtimes.command(record.runtime),
            init=core.settings.init if record.host.Init is None else record.host.Init,
            report=EXPLAIN in record.host.Annotations,
            seccomp_cache=core.paths.seccomp_cache,
        )

    def _started(self, container: Container, handle: ShimHandle, *, restart_count: int) -> None:
        core = self._core
        container.drop_pending()
        record = container.with_state(
            status="running",
            pid=handle.pid,
            start_ticks=handle.start_ticks,
            exit_code=0,
            error="",
            oom_killed=False,
            started_at_ns=handle.started_at_ns,
            finished_at_ns=container.state.finished_at_ns,
            restart_count=restart_count,
            manually_stopped=False,
        )
        events = [
            *core.networking.started(record),
            *mount_events(record),
            container_event(container, "start"),
        ]
        core.save_state(record, *events)
        container.record = record
        container.shim = handle
        tell_linked(core, record)
        if EXPLAIN in record.host.Annotations:
            container.explanation = [{**step} for step in handle.report() if isinstance(step, dict)]
        core.events.publish(*events)
        self._ender.watch(container, handle)

    def _failed(self, container: Container, error: Exception) -> None:
        """Keep why, tell those who wait, and remove it if it was to be removed."""
        container.drop_pending()
        release_mounts(self._core, container.record)
        record = container.with_state(
            exit_code=_exit_code(error), error=str(error), finished_at_ns=container.state.finished_at_ns
        )
        if not isinstance(error, SampanError):
            log.error("container cannot be started", container=container.id, reason=repr(error))
        self._core.save_state(record)
        container.record = record
        self._ender.after_failed_start(container)


def _with_links(core: Core, record: Record) -> Record:
    """Return a record whose environment has what links bring, below the container's own."""
    environment = merge_environment(core.linking.environment(record), record.config.Env)
    return msgspec.structs.replace(record, config=msgspec.structs.replace(record.config, Env=environment))


def _exit_code(error: Exception) -> int:
    """Docker's codes of a start that failed (moby daemon/start.go, translateContainerdStartErr)."""
    if isinstance(error, CommandNotFound):
        return 127
    return 126 if isinstance(error, CommandNotExecutable) else 128


def _console_size(record: Record) -> tuple[int, int] | None:
    height, width = record.host.ConsoleSize
    return (height, width) if record.config.Tty and height and width else None


@contextmanager
def open_surroundings(core: Core, record: Record) -> Iterator[Joins]:
    """Make a container's network and host files, and hold what it joins open, around its start.

    What was made of the network goes when the block ends by an error.
    """
    with OpenJoins(core.index, record) as joins, core.networking.attach(record) as network:
        write_host_files(core, record, endpoints=network.endpoints)
        yield joins.paths if network.path is None else replace(joins.paths, network=network.path)
