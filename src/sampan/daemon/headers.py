"""The headers that every answer of a route carries; clients negotiate by them (docker-api 1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from sampan.engine.system import VERSION
from sampan.spec.docker import API_VERSION

COMMON: Final[Mapping[str, str]] = {
    "Server": f"Docker/{VERSION} (linux)",
    "Api-Version": API_VERSION,
    "Ostype": "linux",
    "Docker-Experimental": "false",
}


def add_common(response: web.StreamResponse) -> web.StreamResponse:
    """Add the common headers to a response that is not sent yet, and return it."""
    if not response.prepared:
        for name, value in COMMON.items():
            response.headers.setdefault(name, value)
    return response


def head_lines() -> str:
    """Return the common headers as the text of a response head that is written by hand."""
    return "".join(f"{name}: {value}\r\n" for name, value in COMMON.items())
