"""Execs: further programs in a running container."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.failures import message_of
from sampan.daemon.headers import head_lines
from sampan.daemon.routes_containers import terminal_size
from sampan.daemon.routing import Router
from sampan.daemon.streaming import frame, stream_type
from sampan.daemon.takeover import Takeover, send_all
from sampan.errors import InvalidArgument
from sampan.spec import docker

_STDOUT = 1
_FROM_RUNTIME = "unable to start container process"


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("POST", "/containers/{id}/exec", create)
    router.add("POST", "/exec/{id}/start", start)
    router.add("POST", "/exec/{id}/resize", resize)
    router.add("GET", "/exec/{id}/json", inspect)


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/exec."""
    body = await call.body(docker.ExecCreate)
    exec_id = await call.workers.quick(call.engine.execs.create, call.name, body)
    return reply(docker.IdResponse(Id=exec_id), status=201)


async def start(call: Call) -> web.StreamResponse:
    """POST /exec/{id}/start: detached a plain answer, else the connection is handed over."""
    body = await call.body_or_default(docker.ExecStart)
    size = console_size(body.ConsoleSize)
    if body.Detach:
        await call.workers.slow(
            call.engine.execs.start,
            call.name,
            fd=None,
            framed=False,
            detach=True,
            tty=body.Tty,
            console_size=size,
        )
        return web.Response()
    await call.workers.quick(call.engine.execs.prepare_start, call.name)
    takeover = Takeover(call.request)
    try:
        takeover.settle()
        takeover.send_head(stream_type(tty=body.Tty, version=call.version), headers=head_lines())
        await _run(call, takeover, tty=body.Tty, size=size)
        await takeover.drained()
    finally:
        takeover.close()
    return web.Response()


async def _run(call: Call, takeover: Takeover, *, tty: bool, size: tuple[int, int] | None) -> None:
    """Start the program on the taken connection; what fails now can only be told in the stream."""
    try:
        await takeover.lend(
            call.workers.slow(
                call.engine.execs.start,
                call.name,
                fd=takeover.fd,
                framed=not tty,
                detach=False,
                tty=tty,
                console_size=size,
            )
        )
    except Exception as exc:
        line = _in_dockers_words(exc).encode(errors="replace") + b"\r\n"
        await send_all(takeover.sock, line if tty else frame(_STDOUT, line))


def _in_dockers_words(error: Exception) -> str:
    """Name the chain that Docker names: its clients look for it."""
    text = message_of(error)
    return f"OCI runtime exec failed: exec failed: {text}" if text.startswith(_FROM_RUNTIME) else text


async def resize(call: Call) -> web.StreamResponse:
    """POST /exec/{id}/resize."""
    height, width = terminal_size(call)
    await call.workers.slow(call.engine.execs.resize, call.name, height=height, width=width)
    return web.Response()


async def inspect(call: Call) -> web.StreamResponse:
    """GET /exec/{id}/json."""
    return reply(await call.workers.quick(call.engine.execs.inspect, call.name))


def console_size(value: list[int] | None) -> tuple[int, int] | None:
    """Return height and width as asked for, None when absent or zero.

    Raises:
        InvalidArgument: it is no pair of sizes.
    """
    if not value:
        return None
    if len(value) != 2 or not all(0 <= part < 1 << 16 for part in value):
        raise InvalidArgument(f"ConsoleSize {value!r} is not [height, width]")
    return (value[0], value[1]) if all(value) else None
