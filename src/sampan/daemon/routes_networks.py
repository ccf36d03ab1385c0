"""Networks: list, inspect, create, remove, prune, connect, disconnect."""

from __future__ import annotations

from aiohttp import web

from sampan.daemon.call import Call, no_content, reply
from sampan.daemon.routing import Router
from sampan.spec import docker


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/networks", list_networks)
    router.add("GET", "/networks/", list_networks)
    router.add("GET", "/networks/{id}", inspect_network)
    router.add("GET", "/sampan/v1/networks/{id}/anatomy", anatomy)
    router.add("DELETE", "/networks/{id}", remove_network)
    router.add("POST", "/networks/create", create_network)
    router.add("POST", "/networks/prune", prune_networks)
    router.add("POST", "/networks/{id}/connect", connect)
    router.add("POST", "/networks/{id}/disconnect", disconnect)


async def list_networks(call: Call) -> web.StreamResponse:
    """GET /networks."""
    return reply(await call.workers.quick(call.engine.networks.list, call.filters()))


async def inspect_network(call: Call) -> web.StreamResponse:
    """GET /networks/{id}."""
    return reply(await call.workers.quick(call.engine.networks.inspect, call.name))


async def anatomy(call: Call) -> web.StreamResponse:
    """GET /sampan/v1/networks/{id}/anatomy."""
    return reply(await call.workers.slow(call.engine.networks.anatomy, call.name))


async def create_network(call: Call) -> web.StreamResponse:
    """POST /networks/create: 201."""
    request = await call.body(docker.NetworkCreate)
    return reply(await call.workers.slow(call.engine.networks.create, request), status=201)


async def remove_network(call: Call) -> web.StreamResponse:
    """DELETE /networks/{id}."""
    await call.workers.slow(call.engine.networks.remove, call.name)
    return no_content()


async def prune_networks(call: Call) -> web.StreamResponse:
    """POST /networks/prune."""
    names = await call.workers.slow(call.engine.networks.prune, call.filters())
    return reply({"NetworksDeleted": names})


async def connect(call: Call) -> web.StreamResponse:
    """POST /networks/{id}/connect."""
    request = await call.body(docker.NetworkConnect)
    await call.workers.slow(call.engine.networks.connect, call.name, request)
    return web.Response()


async def disconnect(call: Call) -> web.StreamResponse:
    """POST /networks/{id}/disconnect."""
    request = await call.body(docker.NetworkDisconnect)
    await call.workers.slow(call.engine.networks.disconnect, call.name, request)
    return web.Response()
