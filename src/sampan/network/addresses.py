"""Which address a container gets, and which subnet a network: lowest free first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from sampan.errors import Forbidden, InvalidArgument, Unavailable
from sampan.network.model import Pool

_POOLS: Final = (("172.16.0.0/12", 16), ("192.168.0.0/16", 20))  # Docker's, without 172.16.0.0/16


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the first default pool that meets none of taken.

    Raises:
        Unavailable: all are in use.
    """
    blocked = list(taken)
    for candidate in _default_pools():
        if not any(candidate.overlaps(other) for other in blocked):
            return candidate
    raise Unavailable(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the "
        "network",
        hint="name one with --subnet, or remove networks that nobody uses",
    )


def _default_pools() -> Iterator[IPv4Network]:
    for base, prefix in _POOLS:
        for pool in IPv4Network(base).subnets(new_prefix=prefix):
            if pool != IPv4Network("172.16.0.0/16"):
                yield pool


def make_pool(
    *, subnet: str, ip_range: str = "", gateway: str = "", aux: dict[str, str] | None = None
) -> Pool:
    """Check what a user asked for; without a gateway the first free address is it.

    Raises:
        InvalidArgument: no subnet, or an address outside it.
    """
    network = parse_subnet(subnet)
    inside = parse_subnet(ip_range) if ip_range else network
    if not inside.subnet_of(network):
        raise InvalidArgument(f"invalid ip-range {ip_range}: it is not inside subnet {network}")
    aux = dict(aux or {})
    for address in (*aux.values(), *([gateway] if gateway else [])):
        if parse_address(address) not in network:
            raise InvalidArgument(f"invalid address {address}: it is not inside subnet {network}")
    taken = {IPv4Address(address) for address in aux.values()}
    if gateway and IPv4Address(gateway) in taken:
        raise InvalidArgument(f"gateway {gateway} is an auxiliary address, too")
    chosen = (
        IPv4Address(gateway) if gateway else next((one for one in inside.hosts() if one not in taken), None)
    )
    if chosen is None:
        raise InvalidArgument(f"subnet {network} has no room for a gateway")
    return Pool(subnet=str(network), gateway=str(chosen), ip_range=str(inside) if ip_range else "", aux=aux)


def parse_subnet(text: str) -> IPv4Network:
    """Read `address/prefix`.

    Raises:
        InvalidArgument: another form, or IPv6.
    """
    try:
        return IPv4Network(text, strict=False)
    except ValueError as exc:
        raise InvalidArgument(f"invalid subnet {text}: {exc}") from exc


def parse_address(text: str) -> IPv4Address:
    """Read an IPv4 address.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return IPv4Address(text)
    except ValueError as exc:
        raise InvalidArgument(f"invalid IPv4 address: {text}") from exc


class Allocator:
    """The addresses of one network. Not thread-safe: its owner holds a lock."""

    def __init__(self, pool: Pool, *, name: str) -> None:
        self._name = name
        self._network = pool.network
        inside = IPv4Network(pool.ip_range) if pool.ip_range else self._network
        edge = 0 if self._network.prefixlen >= 31 else 1  # network and broadcast address
        self._first = max(int(inside[0]), int(self._network[0]) + edge)
        self._last = min(int(inside[-1]), int(self._network[-1]) - edge)
        self._taken = {int(IPv4Address(one)) for one in (pool.gateway, *pool.aux.values())}
        self._hint = self._first  # nothing below it is free

    def take(self) -> str:
        """Return the lowest free address.

        Raises:
            Unavailable: there is none.
        """
        number = self._hint
        while number in self._taken:
            number += 1
        if number > self._last:
            raise Unavailable(
                f"no available IPv4 addresses on this network's address pools: {self._name}",
                hint="remove containers, or make a network with a larger --subnet",
            )
        self._taken.add(number)
        self._hint = number + 1
        return str(IPv4Address(number))

    def take_this(self, text: str) -> str:
        """Take the address that was asked for.

        Raises:
            InvalidArgument: it lies outside. Forbidden: somebody has it.
        """
        address = parse_address(text)
        number = int(address)
        if address not in self._network:
            raise InvalidArgument(
                f"no configured subnet contains IP address {text}", hint=f"this network has {self._network}"
            )
        if number in self._taken or address in (self._network[0], self._network[-1]):
            raise Forbidden(f"Address already in use: {text} in network {self._name}")
        self._taken.add(number)
        return str(address)

    def give_back(self, text: str) -> None:
        """Make an address free again."""
        number = int(IPv4Address(text))
        self._taken.discard(number)
        if self._first <= number < self._hint:
            self._hint = number
