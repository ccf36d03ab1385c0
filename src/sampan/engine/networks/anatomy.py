"""`network inspect --anatomy`: what the kernel has of a network and of the containers in it."""

from __future__ import annotations

import os

import msgspec

from sampan.engine.core import Core
from sampan.errors import Conflict, NotFound
from sampan.network.anatomy import Interface, PortWay, read_host, read_interfaces, read_port_way
from sampan.network.model import BRIDGE, VXLAN, NetworkRecord

_MOST = 64  # each container's namespace is entered by a process of its own


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A container in a network. Outside: the host's end of its pair."""

    Name: str
    Id: str
    Pid: int
    Namespace: str
    Outside: Interface | None
    Inside: Interface | None


class NetworkAnatomy(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to GET /sampan/v1/networks/{id}/anatomy. Received, Sent: bytes of all its containers."""

    Name: str
    Id: str
    Driver: str
    Namespace: str
    Bridge: Interface | None
    Containers: list[Member]
    NotShown: int
    Received: int
    Sent: int
    Port: PortWay | None


def read_network(core: Core, network: NetworkRecord) -> NetworkAnatomy:
    """Read back a network.

    Raises:
        OSError: the kernel refuses.
    """
    endpoints = core.networking.networks.endpoints(network.id)
    host = read_host([network.bridge, *(one.veth for one in endpoints)])
    members = []
    for endpoint in endpoints[:_MOST]:
        inside, pid, namespace = _look_inside(core, endpoint.container, endpoint.interface)
        members.append(
            Member(
                Name=endpoint.name,
                Id=endpoint.container,
                Pid=pid,
                Namespace=namespace,
                Outside=host.get(endpoint.veth),
                Inside=inside,
            )
        )
    insides = [member.Inside for member in members if member.Inside is not None]
    return NetworkAnatomy(
        Name=network.name,
        Id=network.id,
        Driver=network.driver,
        Namespace=os.readlink("/proc/self/ns/net"),
        Bridge=host.get(network.bridge),
        Containers=members,
        NotShown=max(0, len(endpoints) - _MOST),
        Received=sum(one.Received for one in insides),
        Sent=sum(one.Sent for one in insides),
        Port=_first_port(core, network),
    )


def _look_inside(core: Core, container_id: str, interface: str) -> tuple[Interface | None, int, str]:
    try:
        container = core.index.get(container_id)
        pid = container.state.pid
        namespace = os.readlink(f"/proc/{pid}/ns/net")
        netspace = core.networking.enter(container)
    except (NotFound, Conflict, FileNotFoundError):  # it has just ended
        return None, 0, ""
    try:
        return read_interfaces(netspace.socket, [interface]).get(interface), pid, namespace
    finally:
        netspace.close()


def _first_port(core: Core, network: NetworkRecord) -> PortWay | None:
    if network.driver not in (BRIDGE, VXLAN):
        return None
    for endpoint in core.networking.networks.endpoints(network.id):
        for published in endpoint.published:
            if published.host_port:
                table = core.networking.networks.table
                return read_port_way(table, network, endpoint, published)
    return None
