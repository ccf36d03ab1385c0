"""Execs: further programs in a running container."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.execs.detach_keys import parse_detach_keys
from sampan.engine.execs.process import check_exec, lives, make_exec_process
from sampan.engine.lifecycle.states import restarting_refusal
from sampan.engine.lifecycle.waits import Waits, call_safely
from sampan.engine.observing.events import container_event
from sampan.engine.types import AttachTarget, ExitCallback, Subscription, WaitResult
from sampan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    InvalidArgument,
    NotFound,
    SampanError,
)
from sampan.ids import new_exec_id
from sampan.runtime.launcher.client import AttachRequest, ExecExited, ExecStart, ShimHandle
from sampan.spec import docker

if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

_RESIZE_WAIT_S: Final = 10.0
_KEPT_S: Final = 300.0  # Docker keeps an ended exec for five minutes and more
_SWEEP_ABOVE: Final = 256


@dataclass(slots=True, kw_only=True)
class Exec:
    """One further program. exit_code is None until it has ended; started is set when it runs or failed to."""

    id: str
    container: Container
    request: docker.ExecCreate
    running: bool = False
    claimed: bool = False
    exit_code: int | None = None
    pid: int = 0
    ended_at_s: float = 0.0
    started: threading.Event = field(default_factory=threading.Event)
    waits: Waits = field(default_factory=Waits)

    def end(self, code: int) -> None:
        """Remember the exit code, then wake who waits."""
        self.exit_code = code
        self.running = False
        self.ended_at_s = time.monotonic()
        self.started.set()
        self.waits.ended(WaitResult(status_code=code))


class ExecTable:
    """Execs by id, in memory: they do not outlive sampand, their programs do."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._execs: dict[str, Exec] = {}

    def add(self, entry: Exec) -> None:
        """Make an exec findable; those that ended long ago are forgotten."""
        with self._lock:
            self._execs[entry.id] = entry
            entry.container.exec_ids.add(entry.id)
            if len(self._execs) > _SWEEP_ABOVE:
                self._sweep()

    def _sweep(self) -> None:
        horizon = time.monotonic() - _KEPT_S
        old = [one for one in self._execs.values() if one.exit_code is not None and one.ended_at_s < horizon]
        for entry in old:
            del self._execs[entry.id]
            entry.container.exec_ids.discard(entry.id)

    def get(self, exec_id: str) -> Exec:
        """Return an exec.

        Raises:
            NotFound: `No such exec instance: X`.
        """
        found = self._execs.get(exec_id)
        if found is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    def of(self, container: Container) -> list[Exec]:
        """Return a container's execs."""
        with self._lock:
            return [self._execs[one] for one in container.exec_ids if one in self._execs]

    def ended(self, container: Container, handle: ShimHandle, event: ExecExited) -> None:
        """The shim says that an exec has ended: remember the code before its stream closes."""
        entry = self._execs.get(event.exec_id)
        if entry is not None:
            entry.end(event.code)
            self._core.events.emit(
                container_event(container, "exec_die", execID=event.exec_id, exitCode=str(event.code))
            )
        self._core.acknowledgements.submit(lambda: handle.acknowledge(event))

    def container_ended(self, container: Container) -> None:
        """Execs die with their container."""
        for entry in self.of(container):
            if entry.running:
                entry.end(137)

    def container_removed(self, container: Container) -> None:
        """Forget the execs of a removed container."""
        with self._lock:
            for exec_id in container.exec_ids:
                self._execs.pop(exec_id, None)
            container.exec_ids.clear()


class Execs:
    """Every verb but create takes the id of an exec; NotFound is `No such exec instance: X`."""

    def __init__(self, core: Core, table: ExecTable) -> None:
        self._core = core
        self._table = table

    def create(self, container_ref: str, request: docker.ExecCreate) -> str:
        """Prepare a program and return the exec's id; the user is looked up here.

        Raises:
            InvalidArgument: no command, an unknown user or another wrong field.
            Conflict: the container does not run, or is paused.
        """
        container = self._core.index.get(container_ref)
        container.settle()
        _check_container(container, container_ref)
        check_exec(request)
        make_exec_process(self._core, container, request, tty=request.Tty, console_size=None)
        entry = Exec(id=new_exec_id(), container=container, request=request)
        self._table.add(entry)
        command = " ".join(request.Cmd or ())
        self._core.events.emit(container_event(container, f"exec_create: {command}", execID=entry.id))
        return entry.id

    def prepare_start(self, exec_id: str) -> AttachTarget:
        """Check that the exec can start now, before the connection is taken over; running is always False.

        Raises:
            Conflict: its container stopped or is paused, or it has run already.
        """
        entry = self._table.get(exec_id)
        _check_container(entry.container)
        _check_unused(entry)
        return AttachTarget(id=entry.id, tty=entry.request.Tty, running=False)

    def start(
        self,
        exec_id: str,
        *,
        fd: int | None,
        framed: bool,
        detach: bool,
        tty: bool,
        console_size: tuple[int, int] | None = None,
        end_frame: bool = False,
    ) -> None:
        """Run the program; fd (the caller's to close) is its connection, None when detached. Size is (h, w).

        end_frame: the client is told the exit code in its stream; the caller, who keeps a duplicate, ends it.

        Raises:
            Conflict: as prepare_start.
            CommandNotFound, CommandNotExecutable: the exit code is 127 or 126 from then on.
        """
        entry = self._table.get(exec_id)
        shim = _check_container(entry.container)
        with entry.container.lock:
            _check_unused(entry)
            entry.claimed = True
        request = entry.request
        attach = None
        if not detach and fd is not None:
            attach = _attach_request(entry, fd, framed=framed, tty=tty or request.Tty, end_frame=end_frame)
        size = console_size or _size(request)
        try:
            process = make_exec_process(
                self._core, entry.container, request, tty=tty or request.Tty, console_size=size
            )
            command = " ".join(request.Cmd or ())
            self._core.events.emit(container_event(entry.container, f"exec_start: {command}", execID=exec_id))
            entry.running = True
            pid = shim.exec(
                ExecStart(
                    exec_id=exec_id,
                    process=cast("dict[str, JsonValue]", process),  # made of JSON values only
                    terminal=tty or request.Tty,
                    console_size=size,
                    attach=attach,
                )
            )
        except SampanError as exc:
            entry.end(_exit_code(exc))
            if not isinstance(exc, CommandNotFound | CommandNotExecutable) and not lives(entry.container):
                # It ended meanwhile: what the runtime met on its way says nothing to anybody.
                raise Conflict(f"container {entry.container.id} is not running") from exc
            raise
        entry.pid = pid
        entry.started.set()

    def resize(self, exec_id: str, *, height: int, width: int) -> None:
        """Set the size of the exec's terminal, waiting up to ten seconds for its start."""
        entry = self._table.get(exec_id)
        if not entry.started.wait(_RESIZE_WAIT_S):
            raise Conflict(f"exec {exec_id} has not started")
        shim = entry.container.shim
        if not entry.running or shim is None:
            raise Conflict(f"exec process {exec_id} is not running")
        if entry.request.Tty:
            shim.resize(height, width, exec_id)

    def inspect(self, exec_id: str) -> docker.ExecInspect:
        """Tell the state of an exec."""
        entry = self._table.get(exec_id)
        request = entry.request
        command = list(request.Cmd or ())
        return docker.ExecInspect(
            ID=entry.id,
            Running=entry.running,
            ExitCode=entry.exit_code,
            ProcessConfig=docker.ExecProcess(
                tty=request.Tty,
                entrypoint=command[0],
                arguments=command[1:],
                privileged=request.Privileged,
                user=request.User,
            ),
            OpenStdin=request.AttachStdin,
            OpenStdout=request.AttachStdout,
            OpenStderr=request.AttachStderr,
            CanRemove=entry.exit_code is not None,
            ContainerID=entry.container.id,
            DetachKeys=request.DetachKeys,
            Pid=entry.pid,
        )

    def on_exit(self, exec_id: str, callback: ExitCallback) -> Subscription:
        """Call back once, in a thread of the engine, when the program has ended; at once if it has."""
        entry = self._table.get(exec_id)
        with entry.container.lock:
            wait = entry.waits.add("next-exit", callback)
            code = entry.exit_code
        if code is not None and entry.waits.cancel(wait):
            call_safely(callback, WaitResult(status_code=code))
        return wait


def _check_container(container: Container, ref: str = "") -> ShimHandle:
    """Return the shim of a container that execs may run in.

    Raises:
        Conflict: in Docker's words.
    """
    if container.state.status == "paused":
        raise Conflict(f"Container {ref or container.id} is paused, unpause the container before exec")
    if container.state.status == "restarting":
        raise Conflict(restarting_refusal(container.id))
    shim = container.shim
    if not container.running or shim is None:
        raise Conflict(f"container {container.id} is not running")
    return shim


def _check_unused(entry: Exec) -> None:
    if entry.claimed:
        raise Conflict(f"exec command {entry.id} has already run")


def _exit_code(error: SampanError) -> int:
    if isinstance(error, CommandNotFound):
        return 127
    return 126 if isinstance(error, CommandNotExecutable | InvalidArgument) else 128


def _size(request: docker.ExecCreate) -> tuple[int, int] | None:
    size = request.ConsoleSize
    return (size[0], size[1]) if request.Tty and size and len(size) == 2 and all(size) else None


def _attach_request(entry: Exec, fd: int, *, framed: bool, tty: bool, end_frame: bool) -> AttachRequest:
    request = entry.request
    keys = parse_detach_keys(request.DetachKeys)
    return AttachRequest(
        fd=fd,
        attach_id=os.urandom(8).hex(),
        framed=framed,
        stdin=request.AttachStdin,
        stdout=request.AttachStdout,
        stderr=request.AttachStderr,
        detach_keys=keys if tty else b"",
        end_frame=end_frame,
    )
