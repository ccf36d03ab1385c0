"""Errors over HTTP: every route that names an object says in the API's shape that there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.campaigns.fuzz import every_route
from tests.system.sampand import Sampand, needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]

# What these need besides the name.
QUERIES = {
    "/containers/{id}/resize": "h=1&w=1",
    "/exec/{id}/resize": "h=1&w=1",
    "/containers/{id}/rename": "name=x",
    "/containers/{id}/archive": "path=/",
    "/images/{name}/tag": "repo=x",
}
BODIES: dict[str, Any] = {
    "/containers/{id}/exec": {"Cmd": ["true"]},
    "/containers/{id}/update": {"Memory": 1 << 26},
    "/exec/{id}/start": {"Detach": True},
    "/networks/{id}/connect": {"Container": "nobody"},
    "/networks/{id}/disconnect": {"Container": "nobody"},
}
# Answered in a stream; asked of a registry; only there in a swarm, or for sampan's own clients.
OTHERS = ("/images/{name}/push", "/distribution/", "/plugins/", "/sampan/")
SWARM = ("/configs", "/nodes", "/secrets", "/services", "/swarm", "/tasks")
ROUTES = [
    f"{method} {pattern}"
    for method, pattern in sorted(every_route())
    if "{" in pattern
    and not pattern.startswith((*OTHERS, *SWARM))
    and (method, pattern[:8]) != ("PUT", "/volumes")
]


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_not_there(sampand: Sampand, route: str) -> None:
    method, pattern = route.split()
    path = pattern.replace("{id}", "nobody").replace("{name}", "nobody")
    path = f"{path}?{QUERIES.get(pattern, '')}"
    status, headers, answer = sampand.request(method, path, BODIES.get(pattern))
    assert status == 404, answer
    if pattern.endswith("/attach"):  # raw, as its stream would be
        assert answer == b"No such container: nobody\r\n"
    elif method != "HEAD":
        assert headers["content-type"] == "application/json"
        message = json.loads(answer)
        assert list(message) == ["message"]
        assert "nobody" in message["message"]
