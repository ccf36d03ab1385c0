"""What a client may ask of a network that is no plain bridge: macvlan, ipvlan, vxlan, CNI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sampan.errors import Forbidden, InvalidArgument, NotFound, Unsupported
from sampan.network.model import BRIDGE, CNI, IPVLAN, MACVLAN, VXLAN, NetworkRecord
from sampan.network.overlays import MTU as OVERLAY_MTU
from sampan.network.overlays import OPTIONS as OVERLAY_OPTIONS
from sampan.network.overlays import read_overlay
from sampan.network.sublinks import MODE, MODES, PARENT, USUAL_MODE
from sampan.spec import docker

CONFLIST: Final = "conflist"
_MTU: Final = "com.docker.network.driver.mtu"
KNOWN: Final[Mapping[str, frozenset[str]]] = {
    BRIDGE: frozenset(),
    MACVLAN: frozenset((PARENT, MODE[MACVLAN], _MTU)),
    IPVLAN: frozenset((PARENT, MODE[IPVLAN], _MTU)),
    VXLAN: frozenset(OVERLAY_OPTIONS),
    CNI: frozenset((CONFLIST,)),
}


def check_driver(request: docker.NetworkCreate) -> str:
    """Return the driver of a request.

    Raises:
        Forbidden, NotFound, Unsupported: there is no such, or none of it can be made.
    """
    driver = request.Driver or BRIDGE
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Unsupported("not supported yet: network driver 'overlay'", hint="use vxlan, with static peers")
    if driver not in KNOWN:
        raise NotFound(f"could not find plugin {driver} in v1 plugin registry: plugin not found")
    return driver


def refine(
    record: NetworkRecord, request: docker.NetworkCreate, read_cni: Callable[[str], dict[str, object]]
) -> NetworkRecord:
    """Return a record as its driver wants it; what was read for a bridge is its beginning.

    Raises:
        InvalidArgument: a wrong value. NotFound: no such conflist.
    """
    options = dict(request.Options)
    if record.driver in (MACVLAN, IPVLAN):
        _check_sublink(record.driver, options)
        mtu = record.mtu if options.get(_MTU) else 0  # the parent's
        return msgspec.structs.replace(record, bridge="", mtu=mtu)
    if record.driver == VXLAN:
        read_overlay(options)
        mtu = record.mtu if options.get(_MTU) else OVERLAY_MTU
        return msgspec.structs.replace(record, mtu=mtu)
    if record.driver == CNI:
        return _refine_cni(record, request, read_cni)
    return record


def _check_sublink(driver: str, options: Mapping[str, str]) -> None:
    mode, parent = options.get(MODE[driver], ""), options.get(PARENT, "")
    if mode and mode not in MODES[driver]:
        raise InvalidArgument(
            f"requested {driver} mode '{mode}' is not valid, '{USUAL_MODE[driver]}' mode is the {driver} "
            "driver default",
            hint=f"one of {', '.join(MODES[driver])}",
        )
    if parent == "lo":
        raise InvalidArgument(f"loopback interface is not a valid {driver} parent link")
    if len(parent) > 15:  # IFNAMSIZ
        raise InvalidArgument(f"interface name {parent!r} is longer than 15 characters")


def _refine_cni(
    record: NetworkRecord, request: docker.NetworkCreate, read_cni: Callable[[str], dict[str, object]]
) -> NetworkRecord:
    name = request.Options.get(CONFLIST, "")
    if not name:
        raise InvalidArgument(
            "a cni network needs the name of its conflist",
            hint="docker network create -d cni -o conflist=NAME …",
        )
    if request.IPAM is not None and any(one != docker.IPAMPool() for one in request.IPAM.Config):
        raise InvalidArgument(
            "a cni network's addresses are its plugins' to give: no subnet, range or gateway can be named",
            hint="write them in the conflist, under ipam",
        )
    return msgspec.structs.replace(record, bridge="", cni=read_cni(name), pool=None, pool6=None)
