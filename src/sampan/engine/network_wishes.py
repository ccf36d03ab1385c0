"""What a container asks of its networks: read from its record and checked. Pure."""

from __future__ import annotations

import re
from typing import Final

from sampan.engine.records import Record
from sampan.errors import InvalidArgument, Unsupported
from sampan.network.addresses import parse_address
from sampan.network.model import NetworkRecord
from sampan.network.networks import PortWish, Wish
from sampan.spec import docker

_PORT: Final = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?")
_MAX: Final = 65535


def parse_container_port(text: str) -> tuple[int, str]:
    """Read `80/tcp`.

    Raises:
        InvalidArgument: another form.
    """
    match = _PORT.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= _MAX:
        raise InvalidArgument(f"invalid port specification: {text!r}")
    return int(match[1]), match[2] or "tcp"


def parse_host_ports(text: str) -> range:
    """Read a binding's HostPort: a port, a range, or "" and 0 for any free one.

    Raises:
        InvalidArgument: another form.
    """
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first or "0"]
    if not all(part.isascii() and part.isdigit() and int(part) <= _MAX for part in numbers):
        raise InvalidArgument(f'invalid port specification: "{text}"')
    low, high = int(numbers[0]), int(numbers[-1])
    if high < low or (dash and not low):
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return range(low, high + 1) if low else range(0)


def check_ports(host: docker.HostConfig) -> None:
    """Refuse bindings that can never be.

    Raises:
        InvalidArgument: a wrong value. Unsupported: IPv6.
    """
    for text, bindings in host.PortBindings.items():
        parse_container_port(text)
        for binding in bindings or ():
            parse_host_ports(binding.HostPort)
            if ":" in binding.HostIp:
                raise Unsupported(f"not supported yet: publishing at IPv6 address {binding.HostIp}")
            if binding.HostIp:
                parse_address(binding.HostIp)


def port_wishes(record: Record, network: NetworkRecord) -> tuple[PortWish, ...]:
    """Return the ports that a container publishes: PortBindings, with PublishAllPorts the exposed, too."""
    host = record.host
    bindings = {
        text: list(found or ()) or [docker.PortBinding()] for text, found in host.PortBindings.items()
    }
    if host.PublishAllPorts:
        for text in record.config.ExposedPorts:
            bindings.setdefault(text if "/" in text else f"{text}/tcp", [docker.PortBinding()])
    wishes = []
    for text, found in bindings.items():
        port, protocol = parse_container_port(text)
        for binding in found:
            wishes.append(
                PortWish(
                    protocol=protocol,
                    port=port,
                    host_address=binding.HostIp or network.bind_address,
                    host_ports=parse_host_ports(binding.HostPort),
                )
            )
    return tuple(dict.fromkeys(wishes))


def make_wish(record: Record, network: NetworkRecord, endpoint: docker.EndpointSettings) -> Wish:
    """Return what a container asks of one network, but for ports, which are of its first one.

    Raises:
        InvalidArgument: the default network gives no such choice; in Docker's words.
    """
    address = endpoint.IPAMConfig.IPv4Address if endpoint.IPAMConfig is not None else ""
    if network.predefined and address:
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if network.predefined and endpoint.Aliases:
        raise InvalidArgument(
            "network-scoped alias is supported only for containers in user defined networks"
        )
    if address and network.pool.chosen:
        raise InvalidArgument(
            "user specified IP address is supported only when connecting to networks with user configured "
            "subnets"
        )
    aliases = tuple(endpoint.Aliases or ())
    hostname = record.config.Hostname
    names = dict.fromkeys((record.name, *aliases, record.id[:12], *([hostname] if hostname else ())))
    return Wish(
        network=network,
        container=record.id,
        container_name=record.name,
        address=address,
        names=tuple(names),
        aliases=aliases,
    )


def check_endpoint(name: str, endpoint: docker.EndpointSettings) -> None:
    """Refuse what a network cannot do yet.

    Raises:
        InvalidArgument: an address that is none. Unsupported: `not supported yet: …`.
    """
    ipam = endpoint.IPAMConfig or docker.EndpointIPAMConfig()
    for field, value in (
        ("IPv6Address", ipam.IPv6Address),
        ("LinkLocalIPs", ipam.LinkLocalIPs),
        ("MacAddress", endpoint.MacAddress),
        ("Links", endpoint.Links),
        ("DriverOpts", endpoint.DriverOpts),
        ("GwPriority", endpoint.GwPriority),
    ):
        if value:
            raise Unsupported(f"not supported yet: {field} {value!r} in network {name!r}")
    if ipam.IPv4Address:
        parse_address(ipam.IPv4Address)
