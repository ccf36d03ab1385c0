"""sampan: containers, images and networks for the clients of Docker and Kubernetes.

The folders are the layers (docs/architecture.md); a module imports its own layer and those below.
From Python this package is a client (docs/python-api.md); each name is loaded when it is first asked for.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan import errors as errors
    from sampan.client.aio import AsyncClient as AsyncClient
    from sampan.client.api import Client as Client
    from sampan.client.container import Container as Container
    from sampan.client.networks import Network as Network
    from sampan.client.options import ContainerOptions as ContainerOptions
    from sampan.client.shortcuts import container as container
    from sampan.client.shortcuts import run as run
    from sampan.client.shortcuts import volume as volume
    from sampan.client.tls import TlsFiles as TlsFiles
    from sampan.client.volumes import Volume as Volume

_OFFERED = {
    "AsyncClient": "client.aio",
    "Client": "client.api",
    "Container": "client.container",
    "ContainerOptions": "client.options",
    "Network": "client.networks",
    "TlsFiles": "client.tls",
    "Volume": "client.volumes",
    "container": "client.shortcuts",
    "run": "client.shortcuts",
    "volume": "client.shortcuts",
}


def __getattr__(name: str) -> object:
    if name == "errors":
        return __import__("sampan.errors", fromlist=("errors",))
    module = _OFFERED.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{module}", fromlist=(name,)), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED, "errors"})
