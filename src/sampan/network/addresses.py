"""Which address a container gets, and which subnet a network: lowest free first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from sampan.errors import Forbidden, InvalidArgument, Unavailable
from sampan.network.model import Pool, Pool6

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What subnets are cut from, each with a prefix of so many bits."""

    network: Network
    size: int


DEFAULT_BASES: Final = (
    Base(network=IPv4Network("172.16.0.0/12"), size=16),  # Docker's, without 172.16.0.0/16
    Base(network=IPv4Network("192.168.0.0/16"), size=20),
)
_NOT_GIVEN: Final = IPv4Network("172.16.0.0/16")


def parse_base(text: str) -> Base:
    """Read `base=10.0.0.0/8,size=24`.

    Raises:
        InvalidArgument: another form.
    """
    found = dict(part.partition("=")[::2] for part in text.split(","))
    size = found.get("size", "")
    if set(found) != {"base", "size"} or not (size.isascii() and size.isdigit()):
        raise InvalidArgument(f"invalid address pool {text!r}", hint="write base=10.0.0.0/8,size=24")
    network = parse_subnet(found["base"])
    if not network.prefixlen <= int(size) <= network.max_prefixlen - 2:
        raise InvalidArgument(
            f"invalid address pool {text!r}: size is the prefix of each subnet, from {network.prefixlen} to "
            f"{network.max_prefixlen - 2}"
        )
    return Base(network=network, size=int(size))


def choose_subnet(taken: Iterable[IPv4Network], bases: Iterable[Base] = DEFAULT_BASES) -> IPv4Network:
    """Return the first default pool that meets none of taken; bases: those of IPv4 count, else Docker's.

    Raises:
        Unavailable: all are in use.
    """
    blocked = list(taken)
    for candidate in _default_pools(bases):
        if not any(candidate.overlaps(other) for other in blocked):
            return candidate
    raise Unavailable(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the "
        "network: all predefined address pools have been fully subnetted",  # both: clients look for either
        hint="name one with --subnet, or remove networks that nobody uses",
    )


def _default_pools(bases: Iterable[Base]) -> Iterator[IPv4Network]:
    named = [base for base in bases if base.network.version == 4] or list(DEFAULT_BASES)
    for base in named:
        assert isinstance(base.network, IPv4Network)
        for pool in base.network.subnets(new_prefix=base.size):
            if named != list(DEFAULT_BASES) or pool != _NOT_GIVEN:
                yield pool


def choose_subnet6(seed: bytes, taken: Iterable[IPv6Network], bases: Iterable[Base] = ()) -> IPv6Network:
    """Return the first free subnet of bases of IPv6, else a /64 of this machine's unique local prefix.

    seed: what makes the prefix this machine's (RFC 4193, section 3.2.2: 40 bits of a digest).

    Raises:
        Unavailable: all are in use.
    """
    blocked = list(taken)
    prefix = IPv6Network((b"\xfd" + hashlib.sha256(seed).digest()[:5] + bytes(10), 48))
    named = [base for base in bases if base.network.version == 6]
    for base in named or [Base(network=prefix, size=64)]:
        assert isinstance(base.network, IPv6Network)
        for candidate in base.network.subnets(new_prefix=base.size):
            if not any(candidate.overlaps(other) for other in blocked):
                return candidate
    raise Unavailable(
        f"no free IPv6 subnet in {', '.join(str(base.network) for base in named) or prefix}",
        hint="name one with --subnet",
    )


def make_pool(
    *, subnet: str, ip_range: str = "", gateway: str = "", aux: dict[str, str] | None = None
) -> Pool | Pool6:
    """Check what a user asked for; without a gateway the first free address is it.

    Raises:
        InvalidArgument: no subnet, or an address outside it.
    """
    network = parse_subnet(subnet)
    if network.is_loopback or network.is_multicast:
        what = "loopback" if network.is_loopback else "multicast"
        raise InvalidArgument(
            f"invalid subnet {network}: these are {what} addresses, no container can have one"
        )
    inside = parse_subnet(ip_range) if ip_range else network
    if not _is_inside(inside, network):
        raise InvalidArgument(f"invalid ip-range {ip_range}: it is not inside subnet {network}")
    aux = dict(aux or {})
    for text in (*aux.values(), *([gateway] if gateway else [])):
        if parse_any_address(text) not in network:
            raise InvalidArgument(f"invalid address {text}: it is not inside subnet {network}")
        if parse_any_address(text) in edges_of(network):
            raise InvalidArgument(
                f"invalid address {text}: it is subnet {network}'s own, no interface can have it"
            )
    taken = {parse_any_address(text) for text in aux.values()}
    if gateway and parse_any_address(gateway) in taken:
        raise InvalidArgument(f"gateway {gateway} is an auxiliary address, too")
    free = (one for one in inside.hosts() if one not in taken)
    chosen = parse_any_address(gateway) if gateway else next(free, None)
    if chosen is None:
        raise InvalidArgument(f"subnet {network} has no room for a gateway")
    kind = Pool if network.version == 4 else Pool6
    return kind(subnet=str(network), gateway=str(chosen), ip_range=str(inside) if ip_range else "", aux=aux)


def edges_of(network: Network) -> tuple[Address, ...]:
    """Return the addresses that are a subnet's own: its first, and IPv4's broadcast.

    The first is any router's in IPv6 (RFC 4291, section 2.6.1). Of two addresses, or one, all are for
    interfaces (RFC 3021, RFC 6164).
    """
    if network.max_prefixlen - network.prefixlen < 2:
        return ()
    return (network[0], network[-1]) if network.version == 4 else (network[0],)


def check_apart(wanted: Pool | Pool6, taken: Pool | Pool6, *, owner: str) -> None:
    """Refuse a subnet that meets another one; owner: whose that is, for a reader.

    Raises:
        Forbidden: in Docker's words.
    """
    mine, its = ip_network(wanted.subnet), ip_network(taken.subnet)
    if mine.version == its.version and mine.overlaps(its):
        raise Forbidden(
            "invalid pool request: Pool overlaps with other one on this address space",
            hint=f"{owner} has {taken.subnet}",
        )


def _is_inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner[0] in outer and inner[-1] in outer


def parse_subnet(text: str) -> Network:
    """Read `address/prefix`.

    Raises:
        InvalidArgument: another form.
    """
    try:
        return ip_network(text, strict=False)
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


def parse_address6(text: str) -> IPv6Address:
    """Read an IPv6 address.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return IPv6Address(text)
    except ValueError as exc:
        raise InvalidArgument(f"invalid IPv6 address: {text}") from exc


def parse_any_address(text: str) -> Address:
    """Read an address of either kind.

    Raises:
        InvalidArgument: it is none.
    """
    return parse_address6(text) if ":" in text else parse_address(text)


class Allocators:
    """The addresses of a network's subnets of one family, one after the other. Not thread-safe."""

    def __init__(self, pools: Iterable[Pool | Pool6], *, name: str) -> None:
        self._subnets = [Allocator(pool, name=name) for pool in pools]

    def take(self) -> str:
        """Return the lowest free address of the first subnet that has one.

        Raises:
            Unavailable: none has.
        """
        for subnet in self._subnets[:-1]:
            with suppress(Unavailable):
                return subnet.take()
        return self._subnets[-1].take()

    def take_this(self, text: str) -> str:
        """Take the address that was asked for.

        Raises:
            InvalidArgument: no subnet has it. Forbidden: somebody has it.
        """
        found = self._find(text)
        if found is None:
            subnets = ", ".join(str(one.network) for one in self._subnets)
            raise InvalidArgument(
                f"no configured subnet contains IP address {text}", hint=f"this network has {subnets}"
            )
        return found.take_this(text)

    def give_back(self, text: str) -> None:
        """Make an address free again."""
        found = self._find(text)
        if found is not None:
            found.give_back(text)

    def _find(self, text: str) -> Allocator | None:
        address = parse_any_address(text)
        return next((one for one in self._subnets if address in one.network), None)


class Allocator:
    """The addresses of one subnet. Not thread-safe: its owner holds a lock."""

    def __init__(self, pool: Pool | Pool6, *, name: str) -> None:
        self._name = name
        self.network: Network = pool.network
        self._kind = IPv4Address if self.network.version == 4 else IPv6Address
        inside: Network = parse_subnet(pool.ip_range) if pool.ip_range else self.network
        self._edges = {int(one) for one in edges_of(self.network)}
        low, high = int(self.network[0]), int(self.network[-1])
        self._first = max(int(inside[0]), low + (low in self._edges))
        self._last = min(int(inside[-1]), high - (high in self._edges))
        self._taken = {int(parse_any_address(one)) for one in (pool.gateway, *pool.aux.values())}
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
                f"no available IPv{self.network.version} addresses on this network's address pools: "
                f"{self._name}",
                hint="remove containers, or make a network with a larger --subnet",
            )
        self._taken.add(number)
        self._hint = number + 1
        return str(self._kind(number))

    def take_this(self, text: str) -> str:
        """Take the address of this subnet that was asked for.

        Raises:
            Forbidden: somebody has it.
        """
        address = parse_any_address(text)
        number = int(address)
        if number in self._taken or number in self._edges:
            raise Forbidden(f"Address already in use: {text} in network {self._name}")
        self._taken.add(number)
        return str(address)

    def give_back(self, text: str) -> None:
        """Make an address free again."""
        number = int(parse_any_address(text))
        self._taken.discard(number)
        if self._first <= number < self._hint:
            self._hint = number
