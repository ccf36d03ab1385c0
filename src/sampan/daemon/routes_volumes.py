"""Volumes: create, list, inspect, remove, prune; and the two endpoints of our own, export and import."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, no_content, reply
from sampan.daemon.routing import Router
from sampan.errors import Unavailable
from sampan.spec import docker

_PRUNES_ANONYMOUS_ONLY = (1, 42)  # before that API version a prune took named volumes too


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/volumes", list_volumes)
    router.add("POST", "/volumes/create", create)
    router.add("POST", "/volumes/prune", prune)
    router.add("GET", "/volumes/{name}", inspect)
    router.add("PUT", "/volumes/{name}", update)
    router.add("DELETE", "/volumes/{name}", remove)


async def list_volumes(call: Call) -> web.StreamResponse:
    """GET /volumes."""
    return reply(await call.workers.slow(call.engine.volumes.list, call.filters()))


async def create(call: Call) -> web.StreamResponse:
    """POST /volumes/create: 201 with the volume, an existing one too."""
    request = await call.body_or_default(docker.VolumeCreate)
    return reply(await call.workers.slow(call.engine.volumes.create, request), status=201)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /volumes/{name}."""
    return reply(await call.workers.slow(call.engine.volumes.inspect, call.name))


async def update(call: Call) -> web.StreamResponse:
    """PUT /volumes/{name}: cluster volumes only."""
    raise Unavailable(
        "This node is not a swarm manager. "
        'Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
    )


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /volumes/{name}."""
    await call.workers.slow(call.engine.volumes.remove, call.name, force=call.flag("force"))
    return no_content()


async def prune(call: Call) -> web.StreamResponse:
    """POST /volumes/prune."""
    filters = call.filters()
    if call.version < _PRUNES_ANONYMOUS_ONLY:
        filters.setdefault("all", ["true"])
    return reply(await call.workers.slow(call.engine.volumes.prune, filters))
