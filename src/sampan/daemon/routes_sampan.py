"""sampan's own endpoints below /sampan/v1 (docs/api.md): sessions in one exchange, and what Docker lacks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
from aiohttp import web

from sampan.daemon.call import Call, no_content, reply
from sampan.daemon.routes_execs import console_size
from sampan.daemon.routes_streams import send_logs
from sampan.daemon.routing import Handler, Router
from sampan.daemon.session import Created, Streams, run_session
from sampan.daemon.streaming import stream_progress
from sampan.engine.types import Subscription, WaitCondition, WaitResult
from sampan.errors import InvalidArgument, NotModified
from sampan.settings import Roots
from sampan.spec import docker

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

ROOT = "/sampan/v1"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to GET /sampan/v1/system/status."""

    Pid: int
    Version: str
    DataRoot: str
    RunRoot: str
    Hosts: list[str]


class Control(Protocol):
    """The program around the door, as far as a client may ask for it."""

    version: str
    roots: Roots
    hosts: list[str]

    def stop(self) -> None:
        """End the program soon; the answer to the request that asked is still sent."""
        ...


def add_routes(router: Router, control: Control) -> None:
    """Add this module's routes."""
    router.add("POST", f"{ROOT}/run", run)
    router.add("POST", f"{ROOT}/containers/{{id}}/start", start)
    router.add("POST", f"{ROOT}/containers/{{id}}/attach", attach)
    router.add("POST", f"{ROOT}/containers/{{id}}/exec", execute)
    router.add("GET", f"{ROOT}/containers/{{id}}/explain", explain)
    router.add("GET", f"{ROOT}/containers/{{id}}/logs", logs)
    router.add("DELETE", f"{ROOT}/containers/{{id}}/logs", clear_logs)
    router.add("GET", f"{ROOT}/containers/{{id}}/anatomy", anatomy)
    router.add("POST", f"{ROOT}/images/bootstrap", bootstrap)
    router.add("GET", f"{ROOT}/system/status", _status(control))
    router.add("POST", f"{ROOT}/system/stop", _stop(control))


@dataclass(slots=True)
class _RunPlan:
    """Create, attach, start."""

    engine: Engine
    body: docker.ContainerCreate
    name: str
    platform: str
    streams: Streams
    id: str = ""

    def prepare(self) -> Created:
        created = self.engine.containers.create(self.body, name=self.name, platform=self.platform)
        self.id = created.Id
        return Created(Id=created.Id, Warnings=created.Warnings)

    def subscribe(self, give: Callable[[WaitResult], None]) -> Subscription:
        condition: WaitCondition = "removed" if self.body.HostConfig.AutoRemove else "next-exit"
        return self.engine.containers.on_exit(self.id, condition, give)

    def go(self, fd: int) -> None:
        _attach(self.engine, self.id, fd, self.streams, logs=False)
        self.engine.containers.start(self.id)


@dataclass(slots=True)
class _StartPlan:
    """Attach and start, or attach alone to what runs."""

    engine: Engine
    ref: str
    streams: Streams
    start: bool
    logs: bool = False
    id: str = ""
    auto_remove: bool = False

    def prepare(self) -> Created:
        found = self.engine.containers.inspect(self.ref)
        self.engine.containers.prepare_attach(self.ref)
        if self.start and found.State.Running:
            raise NotModified(f"container {self.ref} runs already")
        self.id, self.auto_remove = found.Id, found.HostConfig.AutoRemove
        return Created(Id=found.Id)

    def subscribe(self, give: Callable[[WaitResult], None]) -> Subscription:
        plain: WaitCondition = "next-exit" if self.start else "not-running"
        return self.engine.containers.on_exit(self.id, "removed" if self.auto_remove else plain, give)

    def go(self, fd: int) -> None:
        _attach(self.engine, self.id, fd, self.streams, logs=self.logs)
        if self.start:
            self.engine.containers.start(self.id)


@dataclass(slots=True)
class _ExecPlan:
    """Create an exec and start it."""

    engine: Engine
    ref: str
    body: docker.ExecCreate
    id: str = ""

    def prepare(self) -> Created:
        self.id = self.engine.execs.create(self.ref, self.body)
        return Created(Id=self.id)

    def subscribe(self, give: Callable[[WaitResult], None]) -> Subscription:
        return self.engine.execs.on_exit(self.id, give)

    def go(self, fd: int) -> None:
        self.engine.execs.start(
            self.id,
            fd=fd,
            framed=True,
            detach=False,
            tty=self.body.Tty,
            console_size=console_size(self.body.ConsoleSize),
            end_frame=True,
        )


def _attach(engine: Engine, container_id: str, fd: int, streams: Streams, *, logs: bool) -> None:
    engine.containers.attach(
        container_id,
        fd=fd,
        framed=True,
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=streams.stderr,
        logs=logs,
        detach_keys=streams.detach_keys,
        end_frame=True,
    )


def _streams(call: Call) -> Streams:
    return Streams(
        stdin=call.flag("stdin"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        detach_keys=call.text("detachKeys"),
    )


def _need_upgrade(call: Call) -> None:
    if call.request.headers.get("Upgrade", "").lower() != "tcp":
        raise InvalidArgument("a session needs the headers Connection: Upgrade and Upgrade: tcp")


async def run(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/run: a container from create to exit, or with detach up to its start."""
    body = await call.body(docker.ContainerCreate)
    plan = _RunPlan(call.engine, body, call.text("name"), call.text("platform"), _streams(call))
    if not call.flag("detach"):
        _need_upgrade(call)
        return await run_session(call, plan)

    def create_and_start() -> Created:
        created = plan.prepare()
        call.engine.containers.start(plan.id)
        return created

    return reply(await call.workers.slow(create_and_start), status=201)


async def start(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/containers/{id}/start."""
    _need_upgrade(call)
    return await run_session(call, _StartPlan(call.engine, call.name, _streams(call), start=True))


async def attach(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/containers/{id}/attach."""
    _need_upgrade(call)
    plan = _StartPlan(call.engine, call.name, _streams(call), start=False, logs=call.flag("logs"))
    return await run_session(call, plan)


async def execute(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/containers/{id}/exec."""
    body = await call.body(docker.ExecCreate)
    if call.text("detachKeys"):
        body = msgspec.structs.replace(body, DetachKeys=call.text("detachKeys"))
    plan = _ExecPlan(call.engine, call.name, body)
    if not call.flag("detach"):
        _need_upgrade(call)
        return await run_session(call, plan)

    def create_and_start() -> Created:
        created = plan.prepare()
        call.engine.execs.start(
            plan.id,
            fd=None,
            framed=False,
            detach=True,
            tty=body.Tty,
            console_size=console_size(body.ConsoleSize),
        )
        return created

    return reply(await call.workers.slow(create_and_start), status=201)


async def logs(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/containers/{id}/logs: as Docker's, but a line is never cut into parts."""
    return await send_logs(call, whole_lines=True)


async def clear_logs(call: Call) -> web.StreamResponse:
    """DELETE /sampan/v1/containers/{id}/logs."""
    await call.workers.slow(call.engine.containers.clear_log, call.name)
    return no_content()


async def explain(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/containers/{id}/explain."""
    return reply(await call.workers.slow(call.engine.containers.explain, call.name))


async def anatomy(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/containers/{id}/anatomy."""
    return reply(await call.workers.slow(call.engine.containers.anatomy, call.name))


async def bootstrap(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/bootstrap."""
    name, suite = call.text("name"), call.text("suite")
    if not name:
        raise InvalidArgument("name is missing: busybox, debian or hello")
    wanted = f"{name}:{suite}" if suite else name

    def work(report: Callable[[dict[str, object]], None]) -> None:
        image_id = call.engine.images.bootstrap(wanted, progress=lambda line: report({"stream": f"{line}\n"}))
        report({"aux": {"ID": image_id}})

    return await stream_progress(call, work)


def _status(control: Control) -> Handler:
    async def status(call: Call) -> web.StreamResponse:
        roots = control.roots
        return reply(
            Status(
                Pid=os.getpid(),
                Version=control.version,
                DataRoot=roots.data,
                RunRoot=roots.run,
                Hosts=control.hosts,
            )
        )

    return status


def _stop(control: Control) -> Handler:
    async def stop(call: Call) -> web.StreamResponse:
        control.stop()
        return no_content()

    return stop
