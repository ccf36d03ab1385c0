"""Routes of Docker's API that this version does not have: 501, or 503 for swarm, with a reason.

Clients tell "not there" from "page not found": compose and testcontainers probe some of these.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.routing import Handler, Router
from sampan.errors import NotFound, Unavailable, Unsupported

_NOT_A_MANAGER: Final = (
    "This node is not a swarm manager. "
    'Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
)
_SWARM: Final = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs")
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "HEAD")

_NOT_YET: Final = (
    ("POST", "/plugins/pull", "managed plugins"),
    ("GET", "/plugins/privileges", "managed plugins"),
)


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    for method, pattern, what in _NOT_YET:
        router.add(method, pattern, _refuse(what))
    for prefix in _SWARM:
        for method in _METHODS:
            router.add(method, prefix, _no_swarm)
            router.add(method, f"{prefix}/{{name}}", _no_swarm)
    router.add("POST", "/swarm/leave", _not_in_a_swarm)
    router.add("GET", "/plugins", _no_plugins)
    router.add("GET", "/plugins/{name}/json", _no_plugin)


def _refuse(what: str) -> Handler:
    async def handler(call: Call) -> web.StreamResponse:
        raise Unsupported(f"{what} is not supported by this version of sampan")

    return handler


async def _no_swarm(call: Call) -> web.StreamResponse:
    raise Unavailable(_NOT_A_MANAGER)


async def _not_in_a_swarm(call: Call) -> web.StreamResponse:
    raise Unavailable("This node is not part of a swarm")


async def _no_plugins(call: Call) -> web.StreamResponse:
    return reply([])


async def _no_plugin(call: Call) -> web.StreamResponse:
    raise NotFound(f"plugin {call.name!r} not found")
