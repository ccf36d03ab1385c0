"""What a container asks of its networks: read from its record and checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Final

from sampan.engine.records import Record
from sampan.errors import InvalidArgument
from sampan.network.addresses import parse_address, parse_address6, parse_any_address
from sampan.network.model import Endpoint, NetworkRecord
from sampan.network.reservations import PortWish, Wish
from sampan.spec import docker

_PORT: Final = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?")
_MAX: Final = 65535
_ALIAS: Final = re.compile(r"[^\s:/\x00]{1,253}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACE: Final = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_LINK_LOCAL: Final = IPv4Network("169.254.0.0/16")
HOST_BINDING: Final = "com.docker.network.bridge.host_binding_ipv4"
_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104 -- Docker's default for -p
IFNAME: Final = "com.docker.network.endpoint.ifname"
_IFNAME: Final = "IFNAME"  # the docker CLI writes it in small letters
_INTERFACE_SYSCTL: Final = re.compile(
    r"net\.(ipv4|ipv6|mpls)\.[a-z0-9_]+\.(?:IFNAME|ifname)\.[a-z0-9_]+=[^\s\x00]{1,255}"
)
_SYSCTLS: Final = "com.docker.network.endpoint.sysctls"


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
        InvalidArgument: a wrong value.
    """
    for text, bindings in host.PortBindings.items():
        parse_container_port(text)
        for binding in bindings or ():
            parse_host_ports(binding.HostPort)
            if binding.HostIp:
                parse_any_address(binding.HostIp)


def port_wishes(record: Record, network: NetworkRecord, *, bind_address: str = "") -> tuple[PortWish, ...]:
    """Return the ports that a container publishes: PortBindings, with PublishAllPorts the exposed, too.

    bind_address: for those that name none, in a network that names none; "" for every address.
    """
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
                    host_addresses=_host_addresses(binding.HostIp, network, bind_address),
                    host_ports=parse_host_ports(binding.HostPort),
                    optional=not binding.HostIp,
                )
            )
    return tuple(dict.fromkeys(wishes))


def _host_addresses(asked: str, network: NetworkRecord, usual: str) -> tuple[str, ...]:
    """Return where a port is published: without a wish at every address of the host, of both families."""
    if asked:
        return (str(parse_any_address(asked)),)
    named = network.bind_address if network.options.get(HOST_BINDING) else usual or network.bind_address
    return (_ANY4, _ANY6) if named == _ANY4 else (named,)


def make_wish(record: Record, network: NetworkRecord, endpoint: docker.EndpointSettings) -> Wish:
    """Return what a container asks of one network, but for ports.

    Raises:
        InvalidArgument: the default network gives no such choice; in Docker's words.
    """
    ipam = endpoint.IPAMConfig or docker.EndpointIPAMConfig()
    address, address6 = ipam.IPv4Address, ipam.IPv6Address
    if network.predefined and (address or address6):
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if network.predefined and endpoint.Aliases:
        raise InvalidArgument(
            "network-scoped alias is supported only for containers in user defined networks"
        )
    if any(
        asked and pool is not None and pool.chosen
        for asked, pool in ((address, network.pool), (address6, network.pool6))
    ):
        raise InvalidArgument(
            "user specified IP address is supported only when connecting to networks with user configured "
            "subnets"
        )
    main = record.host.NetworkMode in (network.name, network.id)
    hardware = endpoint.MacAddress or (record.config.MacAddress if main else "")
    return Wish(
        network=network,
        container=record.id,
        container_name=record.name,
        address=address,
        address6=address6,
        names=make_names(record, endpoint),
        aliases=tuple(endpoint.Aliases or ()),
        hardware=parse_mac(hardware) if hardware else "",
        interface=(endpoint.DriverOpts or {}).get(IFNAME, ""),
        gateway_priority=endpoint.GwPriority,
        link_local=tuple(ipam.LinkLocalIPs or ()),
        sysctls=parse_interface_sysctls((endpoint.DriverOpts or {}).get(_SYSCTLS, "")),
    )


def make_names(record: Record, endpoint: docker.EndpointSettings) -> tuple[str, ...]:
    """Return what a container is known by on a network, its name first."""
    hostname = record.config.Hostname
    names = (record.name, *(endpoint.Aliases or ()), record.id[:12], *([hostname] if hostname else ()))
    return tuple(dict.fromkeys(names))


def find_endpoint(record: Record, network: NetworkRecord) -> docker.EndpointSettings:
    """Return what a container's record says of a network it is in."""
    wishes = record.network.EndpointsConfig
    for name in (network.name, network.id, record.host.NetworkMode, *wishes):
        if name in wishes and (name == network.name or network.id.startswith(name)):
            return wishes[name]
    return docker.EndpointSettings()


def parse_link(text: str) -> tuple[str, str]:
    """Return container and alias of `container:alias`, of `container` alone, or of inspect's own form.

    Raises:
        InvalidArgument: another form.
    """
    name, _, alias = text.partition(":")
    if name.startswith("/"):  # /db:/web/database
        name, alias = name[1:], alias.rpartition("/")[2]
    if not name or ":" in alias or not _ALIAS.fullmatch(alias or name):
        raise InvalidArgument(f"bad format for links: {text}", hint="write container:alias")
    return name, alias or name


def parse_interface_sysctls(text: str) -> tuple[str, ...]:
    """Return the parameters of an interface that a network option names, parted by commas.

    Raises:
        InvalidArgument: another form than `net.ipv4.conf.IFNAME.name=value`.
    """
    entries = tuple(text.split(",")) if text else ()
    for entry in entries:
        if not _INTERFACE_SYSCTL.fullmatch(entry):
            raise InvalidArgument(
                f"invalid interface sysctl {entry!r}", hint="write net.ipv4.conf.IFNAME.log_martians=1"
            )
    return entries


def interface_sysctls(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """Return what is to be set in a container's namespace once its interfaces are there, by path."""
    found = {}
    for endpoint in endpoints:
        for entry in endpoint.sysctls:
            key, _, value = entry.partition("=")
            parts = [endpoint.interface if part.upper() == _IFNAME else part for part in key.split(".")]
            found["/".join(parts)] = value
    return found


def parse_mac(text: str) -> str:
    """Return a MAC address in its usual form.

    Raises:
        InvalidArgument: it is none, or that of a group.
    """
    found = _MAC.fullmatch(text.lower().replace("-", ":"))
    if found is None:
        raise InvalidArgument(
            f"{text} is not a valid mac address", hint="write six bytes as 02:42:ac:11:00:02"
        )
    if int(text[:2], 16) & 1 or not int(text.replace(":", "").replace("-", ""), 16):
        raise InvalidArgument(
            f"{text} is not a mac address of one interface: its first byte is odd, or all are 0"
        )
    return found[0]


def check_endpoint(name: str, endpoint: docker.EndpointSettings) -> None:
    """Refuse what is wrong in itself; options of drivers that nobody knows are left aside, as by Docker.

    Raises:
        InvalidArgument: an address, alias, link or option that is none.
        Unsupported: `not supported yet: …`.
    """
    ipam = endpoint.IPAMConfig or docker.EndpointIPAMConfig()
    options = endpoint.DriverOpts or {}
    parse_interface_sysctls(options.get(_SYSCTLS, ""))
    if ipam.IPv6Address:
        parse_address6(ipam.IPv6Address)
    if ipam.IPv4Address:
        parse_address(ipam.IPv4Address)
    for text in ipam.LinkLocalIPs or ():
        if parse_address(text) not in _LINK_LOCAL:
            raise InvalidArgument(f"invalid link-local IP address: {text} is not in {_LINK_LOCAL}")
    if endpoint.MacAddress:
        parse_mac(endpoint.MacAddress)
    for link in endpoint.Links or ():
        parse_link(link)
    for alias in endpoint.Aliases or ():
        if not _ALIAS.fullmatch(alias):
            raise InvalidArgument(f"invalid network alias {alias!r}")
    interface = options.get(IFNAME)
    if interface is not None and (
        not _INTERFACE.fullmatch(interface) or interface in (".", "..", "lo", "all", "default")
    ):
        raise InvalidArgument(f"invalid interface name {interface!r}: at most 15 of [a-zA-Z0-9_.-], not lo")
