"""The engine itself: ping, version, info, disk usage."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.routing import Router
from sampan.errors import InvalidArgument
from sampan.spec import docker

_PING = {
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}
_USAGE = {"image": "Images", "container": "Containers", "volume": "Volumes", "build-cache": "BuildCache"}


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/_ping", ping)
    router.add("HEAD", "/_ping", ping)
    router.add("GET", "/version", version)
    router.add("GET", "/info", info)
    router.add("GET", "/system/df", disk_usage)


async def ping(call: Call) -> web.StreamResponse:
    """GET and HEAD /_ping: the first request of every docker command."""
    if call.request.method == "HEAD":
        return web.Response(headers={**_PING, "Content-Length": "0"})
    return web.Response(body=b"OK", headers=_PING)


async def version(call: Call) -> web.StreamResponse:
    """GET /version."""
    return reply(await call.workers.quick(call.engine.system.version))


async def info(call: Call) -> web.StreamResponse:
    """GET /info."""
    return reply(await call.workers.quick(call.engine.system.info))


async def disk_usage(call: Call) -> web.StreamResponse:
    """GET /system/df; `type`, which may repeat, asks for some lists only."""
    wanted = call.request.query.getall("type", [])
    for kind in wanted:
        if kind not in _USAGE:
            raise InvalidArgument(f"unknown object type: {kind}")
    usage = await call.workers.slow(call.engine.system.disk_usage)
    if not wanted:
        return reply(usage)
    kept = {field: getattr(usage, field) for field in (_USAGE[kind] for kind in wanted)}
    if "image" in wanted:
        kept["LayersSize"] = usage.LayersSize
    return reply(docker.DiskUsage(**kept))
