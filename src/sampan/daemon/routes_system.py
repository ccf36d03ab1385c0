"""The engine itself: ping, version, info, disk usage."""

from __future__ import annotations

import msgspec
from aiohttp import web
from msgspec import UNSET

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
_PARTS = ("image", "container", "volume", "build-cache")
_NO_VIRTUAL_SIZE = (1, 44)


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/_ping", ping)
    router.add("HEAD", "/_ping", ping)
    router.add("GET", "/version", version)
    router.add("GET", "/info", info)
    router.add("GET", "/system/df", disk_usage)
    router.add("GET", "/sampan/v1/system/df", full_usage)
    router.add("POST", "/sampan/v1/system/check", check)


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
        if kind not in _PARTS:
            raise InvalidArgument(f"unknown object type: {kind}")
    usage = await call.workers.slow(call.engine.system.disk_usage, wanted or _PARTS)
    if usage.Images is not UNSET:
        usage = msgspec.structs.replace(usage, Images=for_version(usage.Images, call.version))
    return reply(usage)


def for_version(images: list[docker.ImageSummary], version: tuple[int, int]) -> list[docker.ImageSummary]:
    """Add what clients of an old version read, and would take for 0."""
    if version >= _NO_VIRTUAL_SIZE:
        return images
    return [msgspec.structs.replace(image, VirtualSize=image.Size) for image in images]


async def check(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/system/check: what nothing refers to (`repair` removes it), and damage (`images`)."""
    return reply(
        await call.workers.slow(
            call.engine.system.check, repair=call.flag("repair"), images=call.flag("images")
        )
    )


async def full_usage(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/system/df: also what Docker's document has no place for."""
    return reply(await call.workers.slow(call.engine.system.full_usage))
