"""Networks, as far as this version has them: two.

Clients list them on their way to other things (`docker info`, `docker system df`, compose), so the truth
has to be told in their shape.
"""

from __future__ import annotations

import hashlib

from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.routing import Router
from sampan.errors import Forbidden, InvalidArgument, NotFound
from sampan.spec import docker

_DRIVERS = {"host": "host", "none": "null"}
_FILTERS = frozenset(("dangling", "driver", "id", "label", "name", "scope", "type"))


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/networks", list_networks)
    router.add("GET", "/networks/", list_networks)
    router.add("GET", "/networks/{id}", inspect_network)
    router.add("DELETE", "/networks/{id}", remove_network)
    router.add("POST", "/networks/prune", prune_networks)


def predefined_networks() -> list[docker.Network]:
    """Return the networks that exist without being made; their ids follow from their names."""
    return [
        docker.Network(
            Name=name, Id=hashlib.sha256(f"sampan network {name}".encode()).hexdigest(), Driver=driver
        )
        for name, driver in _DRIVERS.items()
    ]


def _find(ref: str) -> docker.Network:
    for network in predefined_networks():
        if ref == network.Name or (ref and network.Id.startswith(ref)):
            return network
    raise NotFound(f"network {ref} not found")


async def list_networks(call: Call) -> web.StreamResponse:
    """GET /networks."""
    filters = call.filters()
    for key in filters:
        if key not in _FILTERS:
            raise InvalidArgument(f"invalid filter '{key}'")
    return reply([network for network in predefined_networks() if _passes(network, filters)])


def _passes(network: docker.Network, filters: dict[str, list[str]]) -> bool:
    if "label" in filters or "custom" in filters.get("type", ()) or "true" in filters.get("dangling", ()):
        return False
    fields = {"name": network.Name, "id": network.Id, "driver": network.Driver, "scope": network.Scope}
    return all(
        any(value in field for value in filters[key]) for key, field in fields.items() if filters.get(key)
    )


async def inspect_network(call: Call) -> web.StreamResponse:
    """GET /networks/{id}."""
    return reply(_find(call.name))


async def remove_network(call: Call) -> web.StreamResponse:
    """DELETE /networks/{id}."""
    raise Forbidden(f"{_find(call.name).Name} is a pre-defined network and cannot be removed")


async def prune_networks(call: Call) -> web.StreamResponse:
    """POST /networks/prune."""
    await call.workers.quick(call.engine.system.prune_nothing, "network", call.filters())
    return reply({"NetworksDeleted": []})
