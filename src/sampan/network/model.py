"""Networks, endpoints and published ports, as they are kept in state.db."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Final

from msgspec import Struct, field

BRIDGE: Final = "bridge"  # the name of a driver, and of the default network
MTU = 1500


class Pool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subnet of a network, as text. ip_range: where addresses are given from, "" for all of it.

    chosen: by us, not by the user.
    """

    subnet: str
    gateway: str
    ip_range: str = ""
    aux: dict[str, str] = field(default_factory=dict)
    chosen: bool = False

    @property
    def network(self) -> IPv4Network:
        """The subnet."""
        return IPv4Network(self.subnet)


class NetworkRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network. bridge: the host's interface of it, where its driver makes one."""

    id: str
    name: str
    created_ns: int
    driver: str = BRIDGE
    bridge: str
    pool: Pool
    internal: bool = False
    attachable: bool = False
    icc: bool = True
    masquerade: bool = True
    mtu: int = MTU
    bind_address: str = "0.0.0.0"  # noqa: S104 -- Docker's default for -p
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ipam_options: dict[str, str] | None = None
    predefined: bool = False


class Published(Struct, frozen=True, kw_only=True):
    """One port of a container at one address of the host; protocol: tcp udp sctp."""

    protocol: str
    port: int
    host_address: str
    host_port: int


class Endpoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container's place in a network while it runs. veth: the host's end; interface: the container's.

    hardware: the MAC address that was asked for, "" for the one that follows from the address. order: of the
    container's interfaces. gateway_priority: whose network has the highest leads outside. link_local: further
    addresses, 169.254.0.0/16.
    """

    id: str
    network: str
    container: str
    name: str
    address: str
    veth: str
    interface: str
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    hardware: str = ""
    order: int = 0
    gateway_priority: int = 0
    link_local: tuple[str, ...] = ()

    @property
    def mac(self) -> str:
        """The MAC address: as asked for, or what follows from the address."""
        return self.hardware or ":".join(f"{byte:02x}" for byte in mac_of(self.address))

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that others know it by."""
        return (self.address,)


def mac_of(address: str) -> bytes:
    """Return the MAC address that goes with an address: a neighbour's cache is never wrong."""
    return b"\x02\x42" + IPv4Address(address).packed
