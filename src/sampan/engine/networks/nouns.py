"""Networks for clients: create, list, inspect, remove, prune, connect, disconnect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from sampan.engine.bundle.namespaces import is_network_name
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.lifecycle.pruning import parse_prune_filter, tell_prune
from sampan.engine.networks.anatomy import NetworkAnatomy, read_network
from sampan.engine.networks.container_files import follow_networks
from sampan.engine.networks.networking import network_event
from sampan.engine.networks.requests import RESERVED, make_network, warn_of_network
from sampan.engine.networks.templates import read_template
from sampan.engine.networks.wishes import check_endpoint
from sampan.engine.patterns import compile_filter
from sampan.engine.records import Record
from sampan.engine.times import format_time
from sampan.errors import Forbidden, InvalidArgument
from sampan.network.model import NetworkRecord
from sampan.spec import docker

Filters = Mapping[str, Sequence[str]]
Names = list[str]
_FILTERS = frozenset(("dangling", "driver", "id", "label", "name", "scope", "type"))
_FIXED = {"host": "host", "none": "null"}
_NO_HOST = "cannot connect container to host network - container must be created in host network mode"
_NO_NONE = (
    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
)
_NO_SHARED = (
    "container sharing network namespace with another container or host cannot be connected to any other "
    "network"
)


class NetworkNouns:
    """Every method may be called from any thread."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._networks = core.networking.networks

    def create(self, request: docker.NetworkCreate) -> docker.NetworkCreated:
        """Make a network.

        Raises:
            SampanError: a wrong value, a name or subnet in use.
        """
        record = make_network(request, known=self._networks)
        self._networks.create(record)
        if not record.config_only:
            self._core.networking.naming.prepare()
        self._core.events.emit(network_event(record, "create"))
        return docker.NetworkCreated(Id=record.id, Warning=warn_of_network(request, record))

    def list(self, filters: Filters) -> list[docker.Network]:
        """Return all networks that pass the filters; without their containers.

        Raises:
            InvalidArgument: an unknown filter.
        """
        _check_filters(filters)
        shown = [(self._show(one), one) for one in self._networks.all()]
        found = [show for show, one in shown if self._passes(show, filters, in_use=self._in_use(one.id))]
        return found + [one for one in _fixed_networks() if self._passes(one, filters, in_use=True)]

    def _in_use(self, network_id: str) -> bool:
        return bool(self._networks.endpoints(network_id))

    @staticmethod
    def _passes(network: docker.Network, filters: Filters, *, in_use: bool) -> bool:
        kind = "builtin" if network.Name in RESERVED else "custom"
        if filters.get("type") and kind not in filters["type"]:
            return False
        for value in filters.get("dangling", ()):
            if (value in ("true", "1")) != (kind == "custom" and not in_use):
                return False
        for key, field in (("driver", network.Driver), ("scope", network.Scope)):
            if filters.get(key) and field not in filters[key]:
                return False
        for key, field in (("name", network.Name), ("id", network.Id)):
            if filters.get(key) and not any(
                compile_filter(value, key=key).search(field) for value in filters[key]
            ):
                return False
        return all(_has_label(network.Labels, wanted) for wanted in filters.get("label", ()))

    def anatomy(self, ref: str) -> NetworkAnatomy:
        """Return what the kernel has of a network.

        Raises:
            NotFound: there is none. InvalidArgument: it is `host` or `none`, and made of nothing.
        """
        fixed = _find_fixed(ref)
        if fixed is not None:
            raise InvalidArgument(f"network {fixed.Name} is made of nothing that could be shown")
        record = self._networks.get(ref)
        if record.config_only:
            raise InvalidArgument(f"network {record.name} is only a configuration for others")
        return read_network(self._core, record)

    def inspect(self, ref: str) -> docker.Network:
        """Return a network with its containers.

        Raises:
            NotFound: there is none.
        """
        fixed = _find_fixed(ref)
        if fixed is not None:
            return fixed
        record = self._networks.get(ref)
        shown = self._show(record)
        return msgspec.structs.replace(
            shown,
            Containers={
                one.container: docker.NetworkContainer(
                    Name=one.name,
                    EndpointID=one.id,
                    MacAddress=one.mac,
                    IPv4Address=_with_prefix(one.address, one.prefix or record.prefix(one.address)),
                    IPv6Address=_with_prefix(one.address6, record.prefix(one.address6)),
                )
                for one in self._networks.endpoints(record.id)
            },
        )

    @staticmethod
    def _show(record: NetworkRecord) -> docker.Network:
        template = read_template(record) if record.config_only else None
        subnets = template.IPAM.Config if template is not None and template.IPAM is not None else []
        return docker.Network(
            Name=record.name,
            Id=record.id,
            Created=format_time(record.created_ns),
            Driver=record.driver,
            IPAM=docker.IPAM(
                Options=record.ipam_options,
                Config=subnets
                or [
                    docker.IPAMPool(
                        Subnet=pool.subnet,
                        IPRange=pool.ip_range,
                        Gateway=pool.gateway,
                        AuxiliaryAddresses=pool.aux,
                    )
                    for pool in record.pools
                ],
            ),
            EnableIPv4=record.leads(4) if template is None else template.EnableIPv4 is not False,
            EnableIPv6=record.leads(6) if template is None else template.EnableIPv6 is True,
            ConfigOnly=record.config_only,
            ConfigFrom=docker.ConfigReference(Network=record.config_from),
            Internal=record.internal,
            Attachable=record.attachable,
            Options=_default_options(record) if record.predefined else record.options,
            Labels=record.labels,
        )

    def remove(self, ref: str) -> None:
        """Remove a network.

        Raises:
            NotFound: there is none. Forbidden: it is predefined or in use.
        """
        fixed = _find_fixed(ref)
        if fixed is not None:
            raise Forbidden(f"{fixed.Name} is a pre-defined network and cannot be removed")
        record = self._networks.get(ref)
        if record.predefined:
            raise Forbidden(f"{record.name} is a pre-defined network and cannot be removed")
        self._networks.remove(record.id)
        self._core.networking.naming.forget_network(record.id)
        self._core.events.emit(network_event(record, "destroy"))

    def prune(self, filters: Filters) -> Names:
        """Remove the networks that no container is in, running or not; return their names.

        Raises:
            InvalidArgument: an unknown filter.
        """
        wanted = parse_prune_filter(filters)
        used = self._wished()
        removed = []
        for record in self._networks.all():
            if record.predefined or record.config_only or used & {record.name, record.id}:
                continue
            if wanted.passes(record.labels, created_ns=record.created_ns):
                try:
                    self.remove(record.id)
                except Forbidden:
                    continue  # a container has just come
                removed.append(record.name)
        tell_prune(self._core, "network", 0)
        return removed

    def _wished(self) -> set[str]:
        names: set[str] = set()
        for container in self._core.index.all():
            names |= {container.record.host.NetworkMode, *container.record.network.EndpointsConfig}
        return names

    def connect(self, ref: str, request: docker.NetworkConnect) -> None:
        """Put a container in a network, now if it runs, and at each start.

        Raises:
            SampanError: it cannot be.
        """
        fixed = _find_fixed(ref)
        if fixed is not None:
            raise InvalidArgument(_NO_HOST if fixed.Name == "host" else _NO_NONE)
        network, container = self._networks.get(ref), self._core.index.get(request.Container)
        endpoint = request.EndpointConfig or docker.EndpointSettings()
        check_endpoint(network.name, endpoint)
        with container.lock:
            record = container.record
            mode = record.host.NetworkMode
            alone = (
                mode == "none" and not record.config.NetworkDisabled
            )  # so is one that has left its last network
            if not alone and not is_network_name(mode):
                raise InvalidArgument(_NO_NONE if record.config.NetworkDisabled else _NO_SHARED)
            if self._key(container, network) is not None:
                raise Forbidden(f"endpoint with name {record.name} already exists in network {network.name}")
            before = {} if alone else {mode: docker.EndpointSettings(), **record.network.EndpointsConfig}
            record = _with_endpoints(
                record, before | {network.name: endpoint}, mode=network.name if alone else ""
            )
            if container.running:
                new = self._core.networking.connect(container, network, endpoint, record=record)
                follow_networks(self._core, record, added=new)
            self._save(container, record)

    def disconnect(self, ref: str, request: docker.NetworkDisconnect) -> None:
        """Take a container out of a network.

        Raises:
            SampanError: it is not in it.
        """
        container = self._core.index.get(request.Container)
        fixed = _find_fixed(ref)
        if fixed is not None:
            self._leave_fixed(fixed, container)
            return
        network = self._networks.get(ref)
        with container.lock:
            record = container.record
            key = self._key(container, network)
            if key is None:
                raise Forbidden(f"container {record.id} is not connected to network {network.name}")
            if container.running:
                gone = self._core.networking.disconnect(container, network)
                follow_networks(self._core, record, removed=gone)
            left = {name: one for name, one in record.network.EndpointsConfig.items() if name != key}
            mode = record.host.NetworkMode
            mode = next(iter(left), "none") if mode == key else mode
            self._save(container, _with_endpoints(record, left, mode=mode))

    def _key(self, container: Container, network: NetworkRecord) -> str | None:
        """Return under which name a container's record has a network."""
        record = container.record
        for name in (record.host.NetworkMode, *record.network.EndpointsConfig):
            if is_network_name(name):
                found = self._networks.find(name)
                if found is not None and found.id == network.id:
                    return name
        return None

    @staticmethod
    def _leave_fixed(fixed: docker.Network, container: Container) -> None:
        """Let a container leave `none`, which changes nothing: it may join a network as it is."""
        record = container.record
        if record.host.NetworkMode != fixed.Name:
            raise Forbidden(f"container {record.id} is not connected to network {fixed.Name}")
        if fixed.Name == "host":
            raise InvalidArgument(
                "container cannot be disconnected from host network or connected to host network"
            )

    def _save(self, container: Container, record: Record) -> None:
        self._core.journal.save_request(record)
        container.record = record


def _with_endpoints(
    record: Record, endpoints: dict[str, docker.EndpointSettings], *, mode: str = ""
) -> Record:
    return msgspec.structs.replace(
        record,
        network=docker.NetworkingConfig(EndpointsConfig=endpoints),
        host=msgspec.structs.replace(record.host, NetworkMode=mode or record.host.NetworkMode),
    )


def _check_filters(filters: Filters) -> None:
    for key in filters:
        if key not in _FILTERS:
            raise InvalidArgument(f"invalid filter '{key}'")
    for value in filters.get("type", ()):
        if value not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter: 'type'='{value}'")
    dangling = filters.get("dangling", ())
    if len(dangling) > 1:
        raise InvalidArgument('got more than one value for filter key "dangling"')
    if dangling and dangling[0] not in ("0", "1", "true", "false"):
        raise InvalidArgument(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        )


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _default_options(record: NetworkRecord) -> dict[str, str]:
    return {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": record.bind_address,
        "com.docker.network.bridge.name": record.bridge,
        "com.docker.network.driver.mtu": str(record.mtu),
    }


def _fixed_networks() -> list[docker.Network]:
    """Return the networks that are no bridges; their ids follow from their names."""
    return [
        docker.Network(
            Name=name, Id=hashlib.sha256(f"sampan network {name}".encode()).hexdigest(), Driver=driver
        )
        for name, driver in _FIXED.items()
    ]


def _with_prefix(address: str, prefix: int) -> str:
    return f"{address}/{prefix}" if address else ""


def _find_fixed(ref: str) -> docker.Network | None:
    for network in _fixed_networks():
        if ref == network.Name or (ref and network.Id.startswith(ref)):
            return network
    return None
