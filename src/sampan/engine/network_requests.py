"""What a client may ask of a new network: every field is honoured, neutral, or refused. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from sampan.errors import Forbidden, InvalidArgument, NotFound, Unsupported
from sampan.ids import new_container_id
from sampan.network.addresses import make_pool, parse_address
from sampan.network.model import MTU, NetworkRecord, Pool
from sampan.spec import docker

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_INTERFACE: Final = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_PREFIX: Final = "com.docker.network.bridge."
_BRIDGE_NAME: Final = f"{_PREFIX}name"
_ICC: Final = f"{_PREFIX}enable_icc"
_MASQUERADE: Final = f"{_PREFIX}enable_ip_masquerade"
_BIND: Final = f"{_PREFIX}host_binding_ipv4"
_MTU: Final = "com.docker.network.driver.mtu"
_NEUTRAL: Final = frozenset((f"{_PREFIX}default_bridge",))
_NOT_YET: Final = frozenset(("macvlan", "ipvlan", "overlay", "vxlan", "cni"))
RESERVED: Final = frozenset(("bridge", "host", "none", "default"))


def make_network(request: docker.NetworkCreate, *, choose_pool: Callable[[], Pool]) -> NetworkRecord:
    """Check a request and return its network; choose_pool is asked when it names no subnet.

    Raises:
        InvalidArgument: a wrong value. Forbidden: the name is reserved. NotFound: an unknown driver.
        Unsupported: `not supported yet: …`.
    """
    check_name(request.Name)
    _check_driver(request)
    _refuse_not_yet(request)
    options = dict(request.Options)
    network_id = str(new_container_id())
    return NetworkRecord(
        id=network_id,
        name=request.Name,
        created_ns=time.time_ns(),
        bridge=_bridge_name(options.get(_BRIDGE_NAME, ""), network_id),
        pool=_pool(request.IPAM or docker.IPAM(), choose_pool),
        internal=request.Internal,
        attachable=request.Attachable,
        icc=_truth(options, _ICC, default=True),
        masquerade=_truth(options, _MASQUERADE, default=True),
        mtu=_mtu(options.get(_MTU, "")),
        bind_address=str(parse_address(options.get(_BIND) or "0.0.0.0")),  # noqa: S104 -- Docker's default
        options=options,
        labels=dict(request.Labels),
        ipam_options=(request.IPAM or docker.IPAM()).Options,
    )


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


def _check_driver(request: docker.NetworkCreate) -> None:
    driver = request.Driver or "bridge"
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver in _NOT_YET:
        raise Unsupported(f"not supported yet: network driver {driver!r}", hint="use bridge")
    if driver != "bridge":
        raise NotFound(f"could not find plugin {driver} in v1 plugin registry: plugin not found")


def _refuse_not_yet(request: docker.NetworkCreate) -> None:
    if request.Scope not in ("", "local"):
        raise Unsupported(f"not supported yet: Scope {request.Scope!r}")
    for field, value in (
        ("EnableIPv6", request.EnableIPv6),
        ("EnableIPv4 false", request.EnableIPv4 is False),
        ("Ingress", request.Ingress),
        ("ConfigOnly", request.ConfigOnly),
        ("ConfigFrom", request.ConfigFrom is not None and request.ConfigFrom.Network),
    ):
        if value:
            raise Unsupported(f"not supported yet: {field}")
    known = (_BRIDGE_NAME, _ICC, _MASQUERADE, _BIND, _MTU, *_NEUTRAL)
    for key in request.Options:
        if key.startswith("com.docker.network.") and key not in known:
            raise Unsupported(f"not supported yet: network option {key!r}")


def _pool(ipam: docker.IPAM, choose_pool: Callable[[], Pool]) -> Pool:
    if ipam.Driver not in ("", "default"):
        raise Unsupported(f"not supported yet: IPAM driver {ipam.Driver!r}")
    if len(ipam.Config) > 1:
        raise Unsupported("not supported yet: several subnets in a network")
    if not ipam.Config or ipam.Config == [docker.IPAMPool()]:
        return choose_pool()
    wish = ipam.Config[0]
    if not wish.Subnet:
        raise InvalidArgument("invalid network config: a gateway, ip-range or aux-address needs a subnet")
    if ":" in wish.Subnet:
        raise Unsupported(f"not supported yet: IPv6 subnet {wish.Subnet}")
    return make_pool(
        subnet=wish.Subnet, ip_range=wish.IPRange, gateway=wish.Gateway, aux=wish.AuxiliaryAddresses
    )


def _bridge_name(wanted: str, network_id: str) -> str:
    if wanted and (not _INTERFACE.fullmatch(wanted) or wanted in (".", "..", "lo", "all", "default")):
        raise InvalidArgument(f"invalid bridge name {wanted!r}: at most 15 of [a-zA-Z0-9_.-]")
    return wanted or f"br-{network_id[:12]}"


def _truth(options: dict[str, str], key: str, *, default: bool) -> bool:
    text = options.get(key, "")
    if not text:
        return default
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise InvalidArgument(f"failed to parse {key} value: {text!r}: write true or false")
    return text.lower() in ("1", "t", "true")


def _mtu(text: str) -> int:
    if not text:
        return MTU
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 68 <= int(text) <= 65535):  # RFC 791
        raise InvalidArgument(f"invalid MTU {text!r}: a number from 68 to 65535")
    return int(text)
