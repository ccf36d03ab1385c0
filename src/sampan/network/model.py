"""Networks, endpoints and published ports, as they are kept in state.db."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from msgspec import Struct, field

BRIDGE: Final = "bridge"  # the name of a driver, and of the default network
MACVLAN, IPVLAN, VXLAN, CNI = "macvlan", "ipvlan", "vxlan", "cni"
CONFIGURATION: Final = "null"  # the driver of a network that is only a configuration for others
LIVE_PORTS: Final = (BRIDGE, VXLAN)  # where published ports can change while a container runs
PUBLISHING: Final = (BRIDGE, VXLAN, CNI)  # where ports can be published
MTU, MIN_MTU, MIN_MTU6 = 1500, 68, 1280  # RFC 791; RFC 8200, section 5


NAT, UNPROTECTED, ROUTED, ISOLATED = GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")


class AnyPool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subnet of a network, as text. ip_range: where addresses are given from, "" for all of it.

    chosen: by us, not by the user.
    """

    subnet: str
    gateway: str
    ip_range: str = ""
    aux: dict[str, str] = field(default_factory=dict)
    chosen: bool = False


class Pool(AnyPool, frozen=True, kw_only=True, omit_defaults=True):
    """An IPv4 subnet."""

    @property
    def network(self) -> IPv4Network:
        """The subnet."""
        return IPv4Network(self.subnet)


class Pool6(AnyPool, frozen=True, kw_only=True, omit_defaults=True):
    """An IPv6 subnet."""

    @property
    def network(self) -> IPv6Network:
        """The subnet."""
        return IPv6Network(self.subnet)


class NetworkRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network. bridge: the host's interface of it, where its driver makes one.

    mode4, mode6: how it meets the outside, one of GATEWAY_MODES. inhibit_ipv4: the bridge itself has none.
    trusted: interfaces of the host by which published ports may be reached at containers' own addresses.
    source4, source6: the host's address that outgoing packets get, "" for that of the way they take.
    pool, pool6: None where the network has no addresses of that kind, or its driver gives them itself.
    more, more6: its further subnets; addresses are given from one when those before it are exhausted.
    template: the request of a network that is only a configuration; config_from: whose another one has.
    """

    id: str
    name: str
    created_ns: int
    driver: str = BRIDGE
    bridge: str
    pool: Pool | None = None
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
    pool6: Pool6 | None = None
    mode4: str = NAT
    mode6: str = NAT
    inhibit_ipv4: bool = False
    trusted: tuple[str, ...] = ()
    source4: str = ""
    source6: str = ""
    interface_prefix: str = "eth"
    cni: dict[str, object] = field(default_factory=dict)
    template: dict[str, object] = field(default_factory=dict)
    config_from: str = ""
    more: tuple[Pool, ...] = ()
    more6: tuple[Pool6, ...] = ()

    @property
    def config_only(self) -> bool:
        """Whether it is only a configuration for others."""
        return self.driver == CONFIGURATION

    @property
    def pools(self) -> tuple[Pool | Pool6, ...]:
        """The subnets that we give addresses of, IPv4 first; none where the driver does."""
        return (*self.pools_of(4), *self.pools_of(6))

    def pools_of(self, version: int) -> tuple[Pool | Pool6, ...]:
        """Return the subnets of IPv4 or IPv6."""
        if version == 4:
            return () if self.pool is None else (self.pool, *self.more)
        return () if self.pool6 is None else (self.pool6, *self.more6)

    def pool_with(self, address: str) -> Pool | Pool6 | None:
        """Return the subnet that an address of ours lies in; None: its driver gives addresses itself."""
        pools = self.pools_of(6 if ":" in address else 4)
        if len(pools) == 1:
            return pools[0]
        return next((one for one in pools if ip_address(address) in one.network), None)

    def gateway(self, address: str) -> str:
        """Return the gateway for an address of ours, "" where we give none."""
        pool = self.pool_with(address) if address else None
        return "" if pool is None else pool.gateway

    def prefix(self, address: str) -> int:
        """Return how long the prefix of an address's subnet is, 0 where we give none."""
        pool = self.pool_with(address) if address else None
        return 0 if pool is None else pool.network.prefixlen

    def leads(self, version: int) -> bool:
        """Tell whether its containers have addresses of IPv4 or IPv6; those of CNI have what plugins give."""
        return (self.pool if version == 4 else self.pool6) is not None or (
            version == 4 and self.driver == CNI
        )

    @property
    def mac(self) -> bytes:
        """The bridge's MAC address."""
        return b"\x02\x42" + hashlib.sha256(self.id.encode()).digest()[:4]

    def mode(self, version: int) -> str:
        """Return the gateway mode of IPv4 or IPv6."""
        return self.mode4 if version == 4 else self.mode6


class Published(Struct, frozen=True, kw_only=True):
    """One port of a container at one address of the host; protocol: tcp udp sctp.

    host_port: 0 on a routed network, where it is open at the container's own address.
    """

    protocol: str
    port: int
    host_address: str
    host_port: int

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host_address else 4


class Endpoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container's place in a network while it runs. veth: the host's end; interface: the container's.

    hardware: the MAC address that was asked for, "" for the one that follows from the address. order: of the
    container's interfaces. gateway_priority: whose network has the highest leads outside. link_local: further
    addresses, 169.254.0.0/16. prefix, gateway: where the driver gives addresses itself. sysctls: of the
    interface, as `net.ipv4.conf.IFNAME.log_martians=1`.
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
    address6: str = ""
    prefix: int = 0
    gateway: str = ""
    sysctls: tuple[str, ...] = ()

    @property
    def mac(self) -> str:
        """The MAC address: as asked for, or what follows from the address, of IPv4 where there is one."""
        if self.hardware or not self.addresses:
            return self.hardware
        return ":".join(f"{byte:02x}" for byte in mac_of(self.addresses[0]))

    def address_of(self, version: int) -> str:
        """Return the address of IPv4 or IPv6, "" without that kind."""
        return self.address if version == 4 else self.address6

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that others know it by."""
        return tuple(one for one in (self.address, self.address6) if one)


def mac_of(address: str) -> bytes:
    """Return the MAC address that goes with an address: a neighbour's cache is never wrong.

    Of IPv6 it has 46 bits of a digest: the lowest of the first byte's say that it is local, and of one.
    """
    if ":" not in address:
        return b"\x02\x42" + IPv4Address(address).packed
    digest = hashlib.sha256(IPv6Address(address).packed).digest()
    return bytes([digest[0] & 0xFC | 2]) + digest[1:6]
