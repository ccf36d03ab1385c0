"""Resource use of a container: samples a second apart, each with the one before it (docker-api 6.3)."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from sampan.daemon.call import Call, encode_line, reply
from sampan.daemon.routing import Router
from sampan.daemon.streaming import end_stream, open_stream
from sampan.errors import InvalidArgument, NotFound
from sampan.spec import docker

_INTERVAL_S: Final = 1.0


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/containers/{id}/stats", stats)


async def stats(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/stats."""
    stream, one_shot = call.flag("stream", default=True), call.flag("one-shot")
    if stream and one_shot:
        raise InvalidArgument("cannot have stream=true and one-shot=true")
    sample = await _sample(call)
    if stream:
        return await _stream(call, sample)
    if not one_shot and sample.read != docker.ZERO_TIME:  # a container that does not run has no second one
        await asyncio.sleep(_INTERVAL_S)
        sample = _after(sample, await _sample(call))
    return reply(sample)


async def _stream(call: Call, sample: docker.ContainerStats) -> web.StreamResponse:
    """Send a sample each second until the client goes or the container is removed."""
    response = await open_stream(call)
    while True:
        await response.write(encode_line(sample))
        await asyncio.sleep(_INTERVAL_S)
        try:
            sample = _after(sample, await _sample(call))
        except NotFound:
            return await end_stream(response)


async def _sample(call: Call) -> docker.ContainerStats:
    return await call.workers.quick(call.engine.containers.stats, call.name)


def _after(before: docker.ContainerStats, now: docker.ContainerStats) -> docker.ContainerStats:
    """Return a sample that carries the one before it, for clients that show rates."""
    return msgspec.structs.replace(now, preread=before.read, precpu_stats=before.cpu_stats)
