"""Ports published and taken back while a container is there: `update --publish-add`, `--publish-rm`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sampan.engine.networks.wishes import check_ports, parse_container_port, parse_host_ports
from sampan.engine.records import Record
from sampan.errors import Conflict, NotFound
from sampan.network.model import Published
from sampan.spec import docker

Bindings = Mapping[str, Sequence[docker.PortBinding] | None]


def check_change(request: docker.ContainerUpdate) -> None:
    """Refuse ports that cannot be.

    Raises:
        InvalidArgument: naming one.
    """
    for bindings in (request.PublishAdd, request.PublishRemove):
        wanted = {text: list(found or ()) for text, found in (bindings or {}).items()}
        check_ports(docker.HostConfig(PortBindings=wanted))


def with_ports(
    record: Record, request: docker.ContainerUpdate, published: Iterable[Published]
) -> docker.HostConfig:
    """Return what a container asks for with the change; published: its ports while it runs.

    Raises:
        NotFound: a port that is to go is not published. Conflict: one that is to come is.
    """
    live = list(published)
    bindings = {_key(text): list(found or ()) for text, found in record.host.PortBindings.items()}
    for text, wanted in (request.PublishRemove or {}).items():
        key = _key(text)
        for wish in wanted or [docker.PortBinding()]:
            kept = [one for one in bindings.get(key, ()) if not _is_same(wish, one)]
            ports = [one for one in live if matches(one, {text: [wish]})]
            if len(kept) == len(bindings.get(key, ())) and kept and ports:
                kept = _without_chosen(kept)  # one whose port of the host we chose
            if len(kept) == len(bindings.get(key, ())) and not ports:
                where = f" at {wish.HostIp}:{wish.HostPort}".replace(" at :", " at ") if wish.HostPort else ""
                raise NotFound(
                    f"container {record.name} does not publish {key}{where}", hint="see `sampan port`"
                )
            bindings[key] = kept
            if not kept:
                del bindings[key]
    for text, wanted in (request.PublishAdd or {}).items():
        key = _key(text)
        for wish in wanted or [docker.PortBinding()]:
            if wish in bindings.get(key, ()) and wish.HostPort not in ("", "0"):
                raise Conflict(f"container {record.name} publishes {key} at port {wish.HostPort} already")
            bindings.setdefault(key, []).append(wish)
    return msgspec.structs.replace(record.host, PortBindings={**bindings})


def matches(published: Published, bindings: Bindings) -> bool:
    """Tell whether a port of a running container is one of these."""
    for text, wanted in bindings.items():
        if parse_container_port(text) != (published.port, published.protocol):
            continue
        for wish in wanted or [docker.PortBinding()]:
            ports = parse_host_ports(wish.HostPort)
            if (not wish.HostIp or wish.HostIp == published.host_address) and (
                not ports or published.host_port in ports
            ):
                return True
    return False


def _key(text: str) -> str:
    port, protocol = parse_container_port(text)
    return f"{port}/{protocol}"


def _is_same(wish: docker.PortBinding, binding: docker.PortBinding) -> bool:
    same_address = not wish.HostIp or wish.HostIp == binding.HostIp
    return same_address and (not wish.HostPort or wish.HostPort == binding.HostPort)


def _without_chosen(bindings: Sequence[docker.PortBinding]) -> list[docker.PortBinding]:
    for place, one in enumerate(bindings):
        if not parse_host_ports(one.HostPort) or "-" in one.HostPort:
            return [*bindings[:place], *bindings[place + 1 :]]
    return list(bindings)
