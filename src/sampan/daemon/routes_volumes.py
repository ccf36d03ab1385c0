"""Volumes: create, list, inspect, remove, prune; and the two endpoints of our own, export and import."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, no_content, reply
from sampan.daemon.outflow import send_archive
from sampan.daemon.routing import Router
from sampan.daemon.upload import Pieces, with_upload
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
    router.add("GET", "/sampan/v1/volumes/{name}/export", export)
    router.add("POST", "/sampan/v1/volumes/{name}/import", import_)


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


async def export(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/volumes/{name}/export: the content as a tar archive."""
    volume = await call.workers.slow(call.engine.open_volume, call.name)
    with volume:
        return await send_archive(call, "Content-Type: application/x-tar\r\n", volume.write)


async def import_(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/volumes/{name}/import: a tar archive over the content; a missing volume is made."""

    def work(body: Pieces) -> None:
        call.engine.volumes.make(call.name)
        with call.engine.open_volume(call.name) as volume:
            call.engine.import_volume(volume, body)

    await with_upload(call, work)
    return no_content()
