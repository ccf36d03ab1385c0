"""What Docker's API has not about images: trees of layers, differences, mounts, flattening (docs/api.md)."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.routes_sampan import ROOT
from sampan.daemon.routing import Router
from sampan.errors import InvalidArgument


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", f"{ROOT}/images/tree", tree)
    router.add("GET", f"{ROOT}/images/diff", diff)
    router.add("GET", f"{ROOT}/images/mounts", mounts)
    router.add("POST", f"{ROOT}/images/{{name}}/mount", mount)
    router.add("DELETE", f"{ROOT}/images/{{name}}/mount", unmount)
    router.add("POST", f"{ROOT}/images/{{name}}/flatten", flatten)


async def tree(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/tree?names=…: layers, each once."""
    return reply(await call.workers.slow(call.engine.images.tree, call.request.query.getall("names", [])))


async def diff(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/diff?from=…&to=…."""
    first, second = call.text("from"), call.text("to")
    if not first or not second:
        raise InvalidArgument("from and to name the two images to compare")
    return reply(await call.workers.slow(call.engine.images.diff, first, second))


async def mounts(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/images/mounts."""
    return reply(await call.workers.slow(call.engine.images.mounts.list))


async def mount(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/{name}/mount."""
    return reply(await call.workers.slow(call.engine.images.mounts.mount, call.name))


async def unmount(call: Call) -> web.StreamResponse:
    """DELETE /sampan/v1/images/{name}/mount."""
    return reply(await call.workers.slow(call.engine.images.mounts.unmount, call.name))


async def flatten(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/images/{name}/flatten?repo=…&tag=…."""
    made = await call.workers.slow(
        call.engine.images.flatten, call.name, repository=call.text("repo"), tag=call.text("tag")
    )
    return reply({"Id": made}, status=201)
