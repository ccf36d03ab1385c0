"""What sampand tells sampan-dns: networks, endpoints on them, and what each container may see. Lean."""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

ADDRESS = "127.0.0.11"
PORT = 53


@record
class Network:
    """A network's name and its subnets in CIDR form: reverse look-ups in them never leave the machine."""

    id: str
    name: str
    subnets: tuple[str, ...] = ()


@record
class Endpoint:
    """A container on a network.

    names: whatever finds it, the container's name first. addresses: IPv4 and IPv6, none while it is not
    running (its names are then known not to exist).
    """

    network: str
    container: str
    names: tuple[str, ...]
    addresses: tuple[str, ...] = ()


@record
class Link:
    """A name in one container's view only: alias means what target means on network."""

    network: str
    alias: str
    target: str


@record
class Server:
    """An upstream server, asked from the host's network namespace or from the container's."""

    address: str
    port: int = PORT
    from_host: bool = False


@record
class View:
    """What one container sees: its networks in the order of look-up, its links, whom to ask for the rest.

    servers: none, unknown names do not exist. ndots: the user's own option above 0 keeps names without a
    dot from going upstream.
    """

    container: str
    networks: tuple[str, ...]
    links: tuple[Link, ...] = ()
    servers: tuple[Server, ...] = ()
    ndots: int = 0


def pack(value: Network | Endpoint | View) -> dict[str, JsonValue]:
    """Return a record as JSON takes it."""
    return {key: _pack_value(item) for key, item in value.__dict__.items()}


def _pack_value(item: object) -> JsonValue:
    if isinstance(item, tuple):
        return [_pack_value(part) for part in item]
    if isinstance(item, (Link, Server)):
        return {key: _pack_value(part) for key, part in item.__dict__.items()}
    assert isinstance(item, (str, int))
    return item


def unpack_network(raw: dict[str, JsonValue]) -> Network:
    """Raise InvalidArgument, or return the network."""
    return Network(id=_text(raw, "id"), name=_text(raw, "name"), subnets=_texts(raw, "subnets"))


def unpack_endpoint(raw: dict[str, JsonValue]) -> Endpoint:
    """Raise InvalidArgument, or return the endpoint."""
    return Endpoint(
        network=_text(raw, "network"),
        container=_text(raw, "container"),
        names=_texts(raw, "names"),
        addresses=_texts(raw, "addresses"),
    )


def unpack_view(raw: dict[str, JsonValue]) -> View:
    """Raise InvalidArgument, or return the view."""
    links = [
        Link(network=_text(link, "network"), alias=_text(link, "alias"), target=_text(link, "target"))
        for link in _objects(raw, "links")
    ]
    servers = [
        Server(
            address=_text(server, "address"),
            port=_number(server, "port"),
            from_host=bool(_number(server, "from_host")),
        )
        for server in _objects(raw, "servers")
    ]
    return View(
        container=_text(raw, "container"),
        networks=_texts(raw, "networks"),
        links=tuple(links),
        servers=tuple(servers),
        ndots=_number(raw, "ndots"),
    )


def _text(raw: dict[str, JsonValue], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise InvalidArgument(f"{key} is not text")
    return value


def _number(raw: dict[str, JsonValue], key: str) -> int:
    value = raw.get(key)
    if not isinstance(value, int):
        raise InvalidArgument(f"{key} is not a number")
    return value


def _texts(raw: dict[str, JsonValue], key: str) -> tuple[str, ...]:
    value = raw.get(key)
    if not isinstance(value, list):
        raise InvalidArgument(f"{key} is not a list")
    texts = tuple(item for item in value if isinstance(item, str))
    if len(texts) != len(value):
        raise InvalidArgument(f"{key} is not a list of texts")
    return texts


def _objects(raw: dict[str, JsonValue], key: str) -> list[dict[str, JsonValue]]:
    value = raw.get(key)
    if not isinstance(value, list):
        raise InvalidArgument(f"{key} is not a list")
    objects = [item for item in value if isinstance(item, dict)]
    if len(objects) != len(value):
        raise InvalidArgument(f"{key} is not a list of objects")
    return objects
