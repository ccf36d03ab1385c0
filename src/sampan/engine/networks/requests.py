"""What a client may ask of a new network: every field is honoured, neutral, or refused. Pure."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final, Protocol

from sampan.engine.networks.drivers import KNOWN, check_driver, refine
from sampan.engine.networks.options import read_bridge_options, read_truth
from sampan.engine.networks.templates import fill_in, make_template
from sampan.errors import Forbidden, InvalidArgument, Unsupported
from sampan.ids import new_container_id
from sampan.network.addresses import check_apart, make_pool
from sampan.network.model import CNI, NetworkRecord, Pool, Pool6
from sampan.spec import docker

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
RESERVED: Final = frozenset(("bridge", "host", "none", "default"))
_ENABLE_IPV4: Final = "com.docker.network.enable_ipv4"
_ENABLE_IPV6: Final = "com.docker.network.enable_ipv6"


class Known(Protocol):
    """Where a network gets from what its request does not say itself."""

    def find(self, ref: str) -> NetworkRecord | None:
        """Return the network of a name."""

    def choose_pool(self) -> Pool:
        """Return a free IPv4 subnet."""

    def choose_pool6(self) -> Pool6:
        """Return a free IPv6 subnet."""

    def read_cni(self, name: str) -> dict[str, object]:
        """Return the CNI network of that name."""


def make_network(request: docker.NetworkCreate, *, known: Known) -> NetworkRecord:
    """Check a request and return its network.

    Raises:
        InvalidArgument: a wrong value. Forbidden: the name is reserved. NotFound: an unknown driver.
        Unsupported: `not supported yet: …`.
    """
    check_name(request.Name)
    driver = check_driver(request)
    _refuse_not_yet(request)
    if request.ConfigOnly:
        _families(request)
        _pools(request.IPAM or docker.IPAM())
        return make_template(request)
    config_from = request.ConfigFrom.Network if request.ConfigFrom is not None else ""
    if config_from:
        request = fill_in(request, known.find(config_from))
    network_id = str(new_container_id())
    ipv4, ipv6 = _families(request)
    options = read_bridge_options(request.Options, internal=request.Internal, ipv6=ipv6)
    ipam = request.IPAM or docker.IPAM()
    pools = _pools(ipam)
    gives = driver != CNI  # else its plugins do
    record = NetworkRecord(
        id=network_id,
        name=request.Name,
        driver=driver,
        created_ns=time.time_ns(),
        bridge=options.name or f"br-{network_id[:12]}",
        pool=(pools.v4[0] if pools.v4 else known.choose_pool()) if ipv4 and gives else None,
        pool6=(pools.v6[0] if pools.v6 else known.choose_pool6()) if ipv6 and gives else None,
        more=pools.v4[1:] if ipv4 and gives else (),
        more6=pools.v6[1:] if ipv6 and gives else (),
        config_from=config_from,
        internal=request.Internal,
        attachable=request.Attachable,
        icc=options.icc,
        masquerade=options.masquerade,
        mtu=options.mtu,
        bind_address=options.bind_address,
        mode4=options.mode4,
        mode6=options.mode6,
        inhibit_ipv4=options.inhibit_ipv4,
        trusted=options.trusted,
        source4=options.source4,
        source6=options.source6,
        interface_prefix=options.interface_prefix,
        options=dict(request.Options),
        labels=dict(request.Labels),
        ipam_options=ipam.Options,
    )
    return refine(record, request, known.read_cni)


def _families(request: docker.NetworkCreate) -> tuple[bool, bool]:
    """Return whether a network is to have IPv4 and IPv6."""
    asked4, asked6 = request.EnableIPv4, request.EnableIPv6
    ipv4 = read_truth(request.Options, _ENABLE_IPV4, default=True) if asked4 is None else asked4
    ipv6 = read_truth(request.Options, _ENABLE_IPV6, default=False) if asked6 is None else asked6
    if not (ipv4 or ipv6):
        raise InvalidArgument("a network without IPv4 needs IPv6", hint="make it with --ipv4=false --ipv6")
    return ipv4, ipv6


def warn_of_network(request: docker.NetworkCreate, record: NetworkRecord) -> str:
    """Return what of a request has no effect, for a reader."""
    if record.config_only or record.config_from:
        return ""
    options = read_bridge_options(request.Options, internal=record.internal, ipv6=record.pool6 is not None)
    unknown = [key for key in options.unknown if key not in KNOWN[record.driver]]
    warnings = [f"driver option {key} is not known, and has no effect" for key in unknown]
    for pool in (request.IPAM or docker.IPAM()).Config:
        if ":" in pool.Subnet and record.pool6 is None:
            warnings.append(f"subnet {pool.Subnet} has no effect without IPv6 (--ipv6)")
        elif pool.Subnet and ":" not in pool.Subnet and record.pool is None:
            warnings.append(f"subnet {pool.Subnet} has no effect without IPv4 (--ipv4=false)")
    return "; ".join(warnings)


def check_name(name: str) -> None:
    """Refuse a name that no network may have.

    Raises:
        InvalidArgument, Forbidden: as Docker says it.
    """
    if not name:
        raise InvalidArgument("invalid network name: name is empty")
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"invalid network name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if name in RESERVED:
        raise Forbidden(f"operation is not permitted on predefined {name} network")


def _refuse_not_yet(request: docker.NetworkCreate) -> None:
    if request.Scope not in ("", "local"):
        raise Unsupported(f"not supported yet: Scope {request.Scope!r}")
    if request.Ingress and not request.ConfigOnly:
        raise Unsupported("not supported yet: Ingress")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pools:
    v4: tuple[Pool, ...]
    v6: tuple[Pool6, ...]


def _pools(ipam: docker.IPAM) -> _Pools:
    """Return the subnets that a request names.

    Raises:
        Forbidden: two of them meet.
    """
    if ipam.Driver not in ("", "default"):
        raise Unsupported(f"not supported yet: IPAM driver {ipam.Driver!r}")
    found: list[Pool | Pool6] = []
    for wish in ipam.Config:
        if wish == docker.IPAMPool():
            continue
        if not wish.Subnet:
            raise InvalidArgument("invalid network config: a gateway, ip-range or aux-address needs a subnet")
        pool = make_pool(
            subnet=wish.Subnet, ip_range=wish.IPRange, gateway=wish.Gateway, aux=wish.AuxiliaryAddresses
        )
        for other in found:
            check_apart(pool, other, owner="this network")
        found.append(pool)
    return _Pools(
        v4=tuple(one for one in found if isinstance(one, Pool)),
        v6=tuple(one for one in found if isinstance(one, Pool6)),
    )
