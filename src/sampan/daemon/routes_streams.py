"""Containers: what lasts. Attach, wait and logs; events are in `routes_events`."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

from aiohttp import WSMsgType, web

from sampan.daemon.call import Call, encode_line
from sampan.daemon.failures import raw_error
from sampan.daemon.landing import Landing
from sampan.daemon.routing import Router
from sampan.daemon.streaming import (
    RAW_STREAM,
    end_stream,
    frame_entries,
    mark_answering,
    open_stream,
    stream_type,
)
from sampan.daemon.takeover import Takeover
from sampan.daemon.workers import take, to_end
from sampan.engine.types import LogRequest, WaitCondition, WaitResult
from sampan.errors import InvalidArgument, SampanError
from sampan.spec import docker

if TYPE_CHECKING:
    from sampan.engine.engine import Engine
    from sampan.engine.logs.reader import LogReader

_WS_STREAMS_SINCE: Final = (1, 42)  # before, a websocket carried all three streams
_CHUNK: Final = 64 * 1024


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("POST", "/containers/{id}/attach", attach)
    router.add("GET", "/containers/{id}/attach/ws", attach_websocket)
    router.add("POST", "/containers/{id}/wait", wait)
    router.add("GET", "/containers/{id}/logs", logs)


async def attach(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/attach: hand the connection over; errors are raw (docker-api 3.1)."""
    takeover = Takeover(call.request)
    try:
        await _attach(call, takeover)
    except SampanError as exc:
        if takeover.begun:
            raise
        takeover.send_now(raw_error(exc, content_type=RAW_STREAM))
    finally:
        takeover.close()
    return web.Response()


async def _attach(call: Call, takeover: Takeover) -> None:
    target = await call.workers.quick(call.engine.containers.prepare_attach, call.name)
    takeover.settle()
    head = stream_type(tty=target.tty, version=call.version)
    await takeover.lend(
        call.workers.slow(
            call.engine.containers.attach,
            target.id,
            fd=takeover.fd,
            framed=not target.tty,
            stdin=call.flag("stdin"),
            stdout=call.flag("stdout"),
            stderr=call.flag("stderr"),
            stream=call.flag("stream"),
            logs=call.flag("logs"),
            detach_keys=call.text("detachKeys"),
            begin=lambda: takeover.send_head(head),
        )
    )
    await takeover.drained()


async def attach_websocket(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/attach/ws: binary messages both ways, never framed."""
    target = await call.workers.quick(call.engine.containers.prepare_attach, call.name)
    every = call.version < _WS_STREAMS_SINCE
    channel = web.WebSocketResponse(max_msg_size=1024 * 1024)
    try:
        await channel.prepare(call.request)
    except web.HTTPException as exc:
        raise InvalidArgument(f"no websocket: {exc.text}") from exc
    mark_answering(call.request)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours:
        streams = [every or call.flag(name) for name in ("stdin", "stdout", "stderr")]
        stream = call.flag("stream", default=every)
        attach = partial(_attach_websocket, call.engine, target.id, theirs, streams)
        await call.workers.slow(attach, stream=stream, logs=call.flag("logs"), keys=call.text("detachKeys"))
        await _pump_websocket(channel, ours)
    await channel.close()
    return channel


def _attach_websocket(
    engine: Engine,
    container_id: str,
    theirs: socket.socket,
    streams: list[bool],
    *,
    stream: bool,
    logs: bool,
    keys: str,
) -> None:
    """Give the container its end, and close ours: in the thread, which a client that goes does not end."""
    stdin, stdout, stderr = streams
    with theirs:
        engine.containers.attach(
            container_id,
            fd=theirs.fileno(),
            framed=False,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            stream=stream,
            logs=logs,
            detach_keys=keys,
        )


async def _pump_websocket(channel: web.WebSocketResponse, ours: socket.socket) -> None:
    """Copy between a websocket and the engine's socket until either ends."""
    loop = asyncio.get_running_loop()

    async def outward() -> None:
        while data := await loop.sock_recv(ours, _CHUNK):
            await channel.send_bytes(data)

    async def inward() -> None:
        async for message in channel:
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                data = message.data if isinstance(message.data, bytes) else message.data.encode()
                await loop.sock_sendall(ours, data)

    tasks = [asyncio.create_task(outward(), name="ws out"), asyncio.create_task(inward(), name="ws in")]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def parse_condition(text: str) -> WaitCondition:
    """Read the condition of a wait.

    Raises:
        InvalidArgument: it is none of the three.
    """
    for condition in get_args(WaitCondition):
        if (text or "not-running") == condition:
            return condition  # type: ignore[no-any-return]  # get_args is untyped; it is one of the literals
    raise InvalidArgument(f'invalid condition: "{text}"')


async def wait(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/wait: headers at once, the body when the container has ended."""
    landing: Landing[WaitResult] = Landing()
    condition = parse_condition(call.text("condition"))
    subscription = await take(
        call.workers.quick(call.engine.containers.on_exit, call.name, condition, landing.give),
        release=lambda made: made.cancel(),
    )
    try:
        response = await open_stream(call)
        result = await landing.future
        error = docker.WaitError(Message=result.error) if result.error else None
        answer = docker.WaitResponse(StatusCode=result.status_code, **({"Error": error} if error else {}))
        await response.write(encode_line(answer))
        return await end_stream(response)
    finally:
        subscription.cancel()


async def logs(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/logs."""
    return await send_logs(call, whole_lines=False)


async def send_logs(call: Call, *, whole_lines: bool) -> web.StreamResponse:
    """Answer with a container's log; whole_lines: a long one is not cut into parts."""
    target = await call.workers.quick(call.engine.containers.inspect, call.name)
    tail = call.text("tail")
    request = LogRequest(
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        follow=call.flag("follow"),
        tail=int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 10 else None,
        since_ns=call.time_ns("since"),
        until_ns=call.time_ns("until"),
        timestamps=call.flag("timestamps"),
        details=call.flag("details"),
        whole_lines=whole_lines,
    )
    if not (request.stdout or request.stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    reader = await take(
        call.workers.quick(call.engine.containers.logs, target.Id, request),
        release=lambda opened: opened.close(),
    )
    try:
        response = await open_stream(call, stream_type(tty=target.Config.Tty, version=call.version))
        await _send_log(call, reader, response, tty=target.Config.Tty)
        return await end_stream(response)
    finally:
        reader.close()


async def _send_log(call: Call, reader: LogReader, response: web.StreamResponse, *, tty: bool) -> None:
    """Send entries until the log is finished, waiting where it may still grow."""
    while True:
        entries = await to_end(call.workers.quick(reader.read_available))
        if entries:
            await response.write(frame_entries(entries, tty=tty))
        elif reader.finished:
            return
        else:
            await _readable(reader.fileno(), within_s=reader.remaining_s)


async def _readable(fd: int, *, within_s: float | None) -> None:
    """Return when fd has something to read, or after within_s."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        async with asyncio.timeout(within_s):
            await ready.wait()
    except TimeoutError:
        pass  # the reader sees that its time has come
    finally:
        loop.remove_reader(fd)
