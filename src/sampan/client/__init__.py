"""The typed API client, for users and for our command line (docs/python-api.md). Never imports the engine.

`address`, `http`, `frames` and `session` are lean (decision 0002): the command line starts with
them alone, so the typed classes are loaded when they are first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.client.aio import AsyncClient as AsyncClient
    from sampan.client.api import Client as Client
    from sampan.client.container import Container as Container
    from sampan.client.options import ContainerOptions as ContainerOptions

_TYPED = {
    "Client": "api",
    "AsyncClient": "aio",
    "Container": "container",
    "ContainerOptions": "options",
}


def __getattr__(name: str) -> object:
    module = _TYPED.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{module}", fromlist=(name,)), name)
