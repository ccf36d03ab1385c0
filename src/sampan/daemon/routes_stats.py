"""Resource use: samples a second apart, each with the one before it (docs/observing.md, "Stats")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from sampan.daemon.call import Call, encode_line, reply
from sampan.daemon.landing import Newest
from sampan.daemon.routing import Router
from sampan.daemon.streaming import end_stream, open_stream
from sampan.daemon.workers import take, to_end
from sampan.errors import InvalidArgument, NotFound
from sampan.spec import docker

if TYPE_CHECKING:
    from sampan.engine.observing.stats_watch import StatsWatch

_INTERVAL_S: Final = 1.0
_POLL_S: Final = 0.05  # while the first samples are taken
_PATIENCE_S: Final = 5.0  # for them; after that those that are there are shown


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/containers/{id}/stats", stats)
    router.add("GET", "/sampan/v1/stats", stats_of_many)


async def stats(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/stats."""
    stream, one_shot = call.flag("stream", default=True), call.flag("one-shot")
    if stream and one_shot:
        raise InvalidArgument("cannot have stream=true and one-shot=true")
    if one_shot:
        return reply(await call.workers.quick(call.engine.containers.stats, call.name))
    samples: Newest[docker.ContainerStats] = Newest(call.post)
    following = await take(
        call.workers.quick(call.engine.containers.follow_stats, call.name, samples.put),
        release=lambda made: made.cancel(),
    )
    try:
        return await (_stream(call, samples) if stream else _second(call, samples))
    finally:
        following.cancel()


async def _stream(call: Call, samples: Newest[docker.ContainerStats]) -> web.StreamResponse:
    """Send a sample each second until the client goes or the container is removed."""
    response = await open_stream(call)
    while (sample := await samples.get()) is not None:
        await response.write(encode_line(sample))
    return await end_stream(response)


async def _second(call: Call, samples: Newest[docker.ContainerStats]) -> web.StreamResponse:
    """Answer with the second sample, which has the first one in it; a container that does not run has one."""
    sample = await samples.get()
    if sample is not None and sample.read != docker.ZERO_TIME:
        sample = await samples.get()
    if sample is None:
        raise NotFound(f"No such container: {call.name}")
    return reply(sample)


async def stats_of_many(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/stats: `{"Stats":[…]}` for all containers (or each `name`), a line each second."""
    names = call.request.query.getall("name", [])
    stopped = call.flag("all") or bool(names)
    watch = await take(
        call.workers.quick(call.engine.containers.watch_stats, names, stopped=stopped),
        release=lambda made: made.close(),
    )
    try:
        if not call.flag("stream", default=True):
            return reply({"Stats": await _first(call, watch, rates=True)})
        response = await open_stream(call)
        samples = await _first(call, watch, rates=False)
        while samples or not names:
            await response.write(encode_line({"Stats": samples}))
            await asyncio.sleep(_INTERVAL_S)
            samples = await to_end(call.workers.quick(watch.read))
        return await end_stream(response)
    finally:
        watch.close()


async def _first(call: Call, watch: StatsWatch, *, rates: bool) -> list[docker.ContainerStats]:
    """Wait for a sample of each container, with rates for the second one."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    samples = await to_end(call.workers.quick(watch.read))
    while not watch.complete(rates=rates) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_POLL_S)
        samples = await to_end(call.workers.quick(watch.read))
    return samples
