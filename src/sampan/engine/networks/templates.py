"""Networks that are only a configuration (`--config-only`), and those made from one (`--config-from`). Pure.

Such a network keeps the request it was made by; another one is made by its own request with that in it.
Source: Docker's API documentation, NetworkCreate; what may not be mixed is as libnetwork has it.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from sampan.errors import Forbidden, NotFound
from sampan.ids import new_container_id
from sampan.network.model import CONFIGURATION, NetworkRecord
from sampan.spec import docker

_OWN: Final = "not supported if the network depends on a configuration network"


def make_template(request: docker.NetworkCreate) -> NetworkRecord:
    """Return the record of a network that is only a configuration; its values are checked already.

    Raises:
        Forbidden: it asks for what is a network's own.
    """
    if request.ConfigFrom is not None and request.ConfigFrom.Network:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    if request.Ingress or request.Internal or request.Attachable or request.Scope:
        raise Forbidden(
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported."
        )
    document = msgspec.to_builtins(request)
    assert isinstance(document, dict)
    return NetworkRecord(
        id=str(new_container_id()),
        name=request.Name,
        driver=CONFIGURATION,
        created_ns=time.time_ns(),
        bridge="",
        options=dict(request.Options),
        labels=dict(request.Labels),
        ipam_options=request.IPAM.Options if request.IPAM is not None else None,
        template=document,
    )


def read_template(record: NetworkRecord) -> docker.NetworkCreate:
    """Return the request that a configuration keeps."""
    return msgspec.convert(record.template, docker.NetworkCreate)


def fill_in(request: docker.NetworkCreate, found: NetworkRecord | None) -> docker.NetworkCreate:
    """Return a request with the configuration it names; found: the network of that name.

    Raises:
        NotFound: there is no such configuration. Forbidden: the request has values of its own.
    """
    name = request.ConfigFrom.Network if request.ConfigFrom is not None else ""
    if found is None or not found.config_only:
        raise NotFound(f'configuration network "{name}" does not exist', hint="make one with --config-only")
    ipam = request.IPAM or docker.IPAM()
    subnets = [one for one in ipam.Config if one != docker.IPAMPool()]
    if (
        ipam.Driver not in ("", "default")
        or request.EnableIPv4 is False
        or request.EnableIPv6
        or request.Labels
        or ipam.Options
        or subnets
    ):
        raise Forbidden(f"user specified configurations are {_OWN}")
    if request.Options:
        raise Forbidden(f"network driver options are {_OWN}")
    template = read_template(found)
    return msgspec.structs.replace(
        request,
        EnableIPv4=template.EnableIPv4,
        EnableIPv6=template.EnableIPv6,
        IPAM=template.IPAM,
        Options=template.Options,
        Labels=template.Labels,
    )
