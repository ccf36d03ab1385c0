"""The network `bridge`, which is always there: as the daemon's settings want it. Pure."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Protocol

import msgspec

from sampan.network.addresses import make_pool
from sampan.network.model import BRIDGE, MTU, NetworkRecord, Pool, Pool6


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultWishes:
    """What the daemon was told of it.

    address: the bridge's own, with its prefix, "" for a free default subnet. subnet6: with ipv6, "" for the
    next free one of this machine's own.
    """

    address: str = ""
    ipv6: bool = False
    subnet6: str = ""
    mtu: int = MTU
    icc: bool = True


class Subnets(Protocol):
    """Where subnets come from that nobody names."""

    def choose_pool(self) -> Pool:
        """Return a free IPv4 subnet."""

    def choose_pool6(self) -> Pool6:
        """Return a free IPv6 subnet."""


def new_default(bridge: str) -> NetworkRecord:
    """Return the network without subnets; bridge: its interface."""
    return NetworkRecord(
        id=hashlib.sha256(b"sampan network bridge").hexdigest(),
        name=BRIDGE,
        created_ns=time.time_ns(),
        bridge=bridge,
        predefined=True,
    )


def shape_default(record: NetworkRecord, wishes: DefaultWishes, subnets: Subnets) -> NetworkRecord:
    """Return the network as it is wanted: what was chosen once stays.

    Raises:
        Unavailable: no subnet is free.
    """
    return msgspec.structs.replace(
        record,
        mtu=wishes.mtu,
        icc=wishes.icc,
        pool=_shape_pool(record.pool, wishes, subnets),
        pool6=_shape_pool6(record.pool6, wishes, subnets),
    )


def _shape_pool(had: Pool | None, wishes: DefaultWishes, subnets: Subnets) -> Pool:
    if wishes.address:
        own = IPv4Interface(wishes.address)
        return Pool(subnet=str(own.network), gateway=str(own.ip))
    return had if had is not None and had.chosen else subnets.choose_pool()


def _shape_pool6(had: Pool6 | None, wishes: DefaultWishes, subnets: Subnets) -> Pool6 | None:
    if not wishes.ipv6:
        return None
    if wishes.subnet6:
        pool = make_pool(subnet=wishes.subnet6)
        assert isinstance(pool, Pool6)  # the daemon's option takes no other
        return pool
    return had if had is not None and had.chosen else subnets.choose_pool6()
