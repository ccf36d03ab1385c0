"""Containers and their networks: what a start makes, what an end takes away, what inspect shows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import msgspec

from sampan import log
from sampan.engine.bundle.namespaces import is_network_name, parse_network_mode
from sampan.engine.container import Container
from sampan.engine.lifecycle.launchers import LauncherKeeper
from sampan.engine.networks.naming import Naming
from sampan.engine.networks.netspaces import NO_SYSCTLS, WITH_IPV6, Netspace, Netspaces
from sampan.engine.networks.publishing import Bindings, matches
from sampan.engine.networks.wishes import (
    find_endpoint,
    interface_sysctls,
    make_names,
    make_wish,
    port_wishes,
)
from sampan.engine.observing.events import Events, make_event
from sampan.engine.records import Record
from sampan.engine.workers import Worker
from sampan.errors import Conflict, NotFound, SampanError
from sampan.kernel.process import start_ticks
from sampan.network.drivers import Place
from sampan.network.gateways import choose_gateway
from sampan.network.model import LIVE_PORTS, PUBLISHING, Endpoint, NetworkRecord
from sampan.network.networks import Networks
from sampan.network.reservations import PortWish, gained_ports
from sampan.spec import docker

_EMPTY = docker.EndpointSettings()
_KERNEL_S = 0.3  # within it the kernel has removed a namespace that nobody holds, most often


class Attachment:
    """A container's network namespace, ready before its start; use it in a `with` around that.

    path: for the runtime, None where it makes the namespace itself or another's is used. What was made goes
    when the block ends by an error.
    """

    def __init__(self, networking: Networking, record: Record) -> None:
        self._networking = networking
        self._record = record
        self._netspace: Netspace | None = None
        self.path: str | None = None
        self.endpoints: Sequence[Endpoint] = ()

    def __enter__(self) -> Attachment:
        wanted = self._networking.wanted(self._record)
        if wanted:
            try:
                self._make(wanted)
            except BaseException:
                self._undo()
                raise
        elif parse_network_mode(self._record.host.NetworkMode).share == "own":
            self._netspace = self._networking.netspaces.take_ready()
            self.path = None if self._netspace is None else self._netspace.path
        return self

    def _make(self, wanted: list[tuple[NetworkRecord, docker.EndpointSettings]]) -> None:
        networking = self._networking
        networking.detach(self._record.id)  # of an earlier start whose end was never seen
        wishes = [make_wish(self._record, network, endpoint) for network, endpoint in wanted]
        outward = [(network, wish) for network, wish in wanted if not network.internal]
        main = min(outward, key=lambda pair: (-pair[1].GwPriority, pair[0].name), default=None)
        publishes = main is not None and main[0].driver in PUBLISHING
        ports = networking.port_wishes(self._record, main[0]) if main is not None and publishes else ()
        self.endpoints = networking.networks.reserve(wishes, ports)
        self._netspace = networking.netspaces.take(ipv6=any(one.address6 for one in self.endpoints))
        self.path = self._netspace.path
        self.endpoints = networking.networks.connect(
            self.endpoints, namespace=self._netspace.fd, inside=self._netspace.socket
        )
        networking.set_sysctls(self._netspace, self.endpoints)
        networking.naming.attach(self._record, self._netspace.fd)

    def _undo(self) -> None:
        self._networking.detach(self._record.id)
        self._close()

    def _close(self) -> None:
        if self._netspace is not None:
            self._netspace.close()
            self._netspace = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.endpoints:
            self._undo()
        self._close()


class Networking:
    """The engine's side of networks."""

    def __init__(
        self,
        networks: Networks,
        launchers: LauncherKeeper,
        events: Events,
        naming: Naming,
        *,
        bind_address: str = "",
    ) -> None:
        """bind_address: where ports are published that name no address, "" for everywhere."""
        self.networks = networks
        self.naming = naming
        self._bind_address = bind_address
        self.netspaces = Netspaces(launchers)
        self._events = events
        self._links = Worker("links")
        self._leftovers = Worker("leftovers")
        self._closing = threading.Event()

    def wanted(self, record: Record) -> list[tuple[NetworkRecord, docker.EndpointSettings]]:
        """Return the networks that a container is to be in, the one of NetworkMode first.

        Raises:
            NotFound: there is no such network.
        """
        if record.config.NetworkDisabled or not is_network_name(record.host.NetworkMode):
            return []
        mode = record.host.NetworkMode
        endpoints = {**record.network.EndpointsConfig}
        names = [mode, *(name for name in endpoints if name != mode)]
        found = {}
        for name in names:
            network = self.networks.get(name)
            found[network.id] = (network, endpoints.get(name, _EMPTY))
        return list(found.values())

    def attach(self, record: Record) -> Attachment:
        """Prepare a container's network for its start."""
        return Attachment(self, record)

    def started(self, record: Record) -> list[docker.Event]:
        """Return the events of a container's networks at its start; its first process is there now."""
        self.naming.started(record)
        return [network_event(network, "connect", record.id) for network, _ in self.networks.of(record.id)]

    def detach(self, container_id: str) -> list[docker.Event]:
        """Take a container out of its networks; return the events. What fails is found by the next start."""
        found = self.networks.of(container_id)
        if not found:
            return []
        self.naming.detach(container_id)
        try:
            places = self.networks.release(container_id)
        except OSError as exc:
            log.error("network is not taken away yet", container=container_id, reason=exc)
            return []
        self._links.submit(lambda: self._end(places))
        return [network_event(network, "disconnect", container_id) for network, _ in found]

    def _end(self, places: Sequence[Place]) -> None:
        later = self.networks.end(places)
        if later:
            due = time.monotonic() + _KERNEL_S
            self._leftovers.submit(lambda: self._remove_leftovers(later, due))

    def _remove_leftovers(self, places: Sequence[Place], due: float) -> None:
        self._closing.wait(due - time.monotonic())
        self.networks.remove_links(places)

    def connect(
        self,
        container: Container,
        network: NetworkRecord,
        endpoint: docker.EndpointSettings,
        *,
        record: Record,
    ) -> list[Endpoint]:
        """Put a running container in one more network; record: what it will be. Return what is new.

        Where it leads outside now and did not before, the container's ports are published there.
        """
        ports = gained_ports(self.networks.of(record.id), network, self.port_wishes(record, network))
        endpoints = self.networks.reserve([make_wish(record, network, endpoint)], ports)
        try:
            ipv6 = any(one.address6 for one in endpoints)
            netspace = self._enter(container, WITH_IPV6 if ipv6 else NO_SYSCTLS)
            try:
                endpoints = self.networks.connect(endpoints, namespace=netspace.fd, inside=netspace.socket)
                self.set_sysctls(netspace, endpoints)
                self.naming.change(record, netspace.fd)
            finally:
                netspace.close()
        except BaseException:
            self._release_one(record.id, network)
            raise
        self._events.emit(network_event(network, "connect", record.id))
        return endpoints

    def disconnect(self, container: Container, network: NetworkRecord) -> list[Endpoint]:
        """Take a running container out of a network; return what is gone."""
        places = self.networks.release(container.id, only=network.id)
        gone = [endpoint for _, endpoint in places]
        self._events.emit(network_event(network, "disconnect", container.id))
        try:
            netspace = self._enter(container)
        except Conflict:  # it has just ended
            self.naming.detach(container.id)
            self.networks.remove_links(places)
            return gone
        try:
            self.networks.remove_links(places, inside=netspace.socket, namespace=netspace.fd)
            self.networks.route_outward(container.id, inside=netspace.socket)
            self.naming.change(container.record, netspace.fd)
        finally:
            netspace.close()
        return gone

    def _release_one(self, container_id: str, network: NetworkRecord) -> None:
        self.networks.remove_links(self.networks.release(container_id, only=network.id))

    def set_sysctls(self, netspace: Netspace, endpoints: Sequence[Endpoint]) -> None:
        """Set the parameters that were asked for of interfaces that are there now.

        Raises:
            InvalidArgument: the kernel does not know one, or refuses its value.
        """
        sysctls = interface_sysctls(endpoints)
        if sysctls:
            self.netspaces.enter(netspace.fd, sysctls).close()

    def heal(self, container: Container, place: Place) -> None:
        """Make an interface of a running container again that somebody removed; what fails is logged."""
        network, endpoint = place
        try:
            with container.lock:
                netspace = self._enter(container)
                try:
                    self.networks.reconnect(place, namespace=netspace.fd, inside=netspace.socket)
                    self.set_sysctls(netspace, [endpoint])
                finally:
                    netspace.close()
        except (Conflict, NotFound):
            return  # it has just ended, or left the network
        except (OSError, SampanError) as exc:
            log.error(
                "interface that somebody removed cannot be made again",
                container=endpoint.name,
                network=network.name,
                reason=exc,
            )
            return
        log.warning(
            "somebody removed an interface: made again", container=endpoint.name, network=network.name
        )

    def rename(self, record: Record) -> None:
        """Let a container's networks know its new name."""
        found = self.networks.of(record.id)
        names = {network.id: make_names(record, find_endpoint(record, network)) for network, _ in found}
        self.networks.rename(record.id, record.name, names)
        self.naming.publish(record.id)

    def host_addresses(self, container_id: str) -> tuple[str, ...]:
        """Return where a container meets the host: the gateway of its network that leads outside."""
        found = self.networks.of(container_id)
        place = choose_gateway(found) or next(iter(found), None)
        if place is None:
            return ()
        network, endpoint = place
        gateways = (network.gateway(one) for one in endpoint.addresses)
        return tuple(filter(None, gateways)) or tuple(filter(None, (endpoint.gateway,)))

    def port_wishes(self, record: Record, network: NetworkRecord) -> Sequence[PortWish]:
        """Return the ports that a container publishes, in the network that leads it outside."""
        return port_wishes(record, network, bind_address=self._bind_address)

    def change_ports(self, record: Record, *, add: Bindings, remove: Bindings) -> None:
        """Publish ports of a running container, and take others back, at one stroke.

        Raises:
            SampanError: a port is taken, or its network publishes none; nothing has changed.
        """
        found = self.networks.of(record.id)
        gateway = choose_gateway(found) or choose_gateway(found, 6)
        if gateway is None or gateway[0].driver not in LIVE_PORTS:
            raise Conflict(
                f"container {record.name} is in no network where ports can be published while it runs",
                hint="connect it to a bridge network that is not internal",
            )
        host = docker.HostConfig(PortBindings={key: list(found or ()) for key, found in add.items()})
        wishes = self.port_wishes(msgspec.structs.replace(record, host=host), gateway[0])
        gone = [one for _, endpoint in found for one in endpoint.published if matches(one, remove)]
        self.networks.change_ports(record.id, add=wishes, remove=gone)

    def enter(self, container: Container) -> Netspace:
        """Return a running container's namespace, to look at; the caller closes it.

        Raises:
            Conflict: it does not run.
        """
        return self._enter(container)

    def _enter(self, container: Container, sysctls: Mapping[str, str] = NO_SYSCTLS) -> Netspace:
        state = container.state
        try:
            fd = os.open(f"/proc/{state.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError) as exc:
            raise Conflict(f"Container {container.id} is not running") from exc
        try:
            if start_ticks(state.pid) != state.start_ticks:
                raise Conflict(f"Container {container.id} is not running")
            return self.netspaces.enter(fd, sysctls)
        finally:
            os.close(fd)

    def settle(self, timeout_s: float) -> bool:
        """Wait until interfaces that are being removed are gone, and namespaces that are being made there."""
        workers = (self._links, self._leftovers)  # in this order: the one fills the other
        return all(one.drain(timeout_s) for one in workers) and self.netspaces.settle(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Let go; containers keep their network."""
        self._closing.set()
        self._links.close(timeout_s)
        self._leftovers.close(timeout_s)
        self.netspaces.close()
        self.naming.close()
        self.networks.close()

    # ---- what is shown

    def shown(self, record: Record) -> dict[str, docker.EndpointSettings]:
        """Return a container's networks as inspect and list have them, by name."""
        mode = record.host.NetworkMode
        if mode in ("none", "host"):
            return {mode: _EMPTY}
        live = {network.id: (network, endpoint) for network, endpoint in self.networks.of(record.id)}
        wished = {} if not is_network_name(mode) else {mode: _EMPTY, **record.network.EndpointsConfig}
        if record.config.NetworkDisabled:
            return {}
        result = {}
        for name, wish in wished.items():
            network = self.networks.find(name)
            if network is None:
                result[name] = wish
            elif network.id in live:
                named = self.naming.has_names(network)
                result[network.name] = show_endpoint(*live[network.id], wish, named=named)
            else:
                result[network.name] = msgspec.structs.replace(wish, NetworkID=network.id)
        return result

    def ports(self, record: Record) -> dict[str, list[docker.PortBinding] | None]:
        """Return a running container's exposed and published ports."""
        ports: dict[str, list[docker.PortBinding] | None] = {}
        for text in record.config.ExposedPorts:
            ports[text if "/" in text else f"{text}/tcp"] = None
        for _, endpoint in self.networks.of(record.id):
            for one in endpoint.published:
                key = f"{one.port}/{one.protocol}"
                bindings = ports.get(key) or []
                port = str(one.host_port) if one.host_port else ""
                bindings.append(docker.PortBinding(HostIp=one.host_address, HostPort=port))
                ports[key] = bindings
        return ports


def show_endpoint(
    network: NetworkRecord, endpoint: Endpoint, wish: docker.EndpointSettings, *, named: bool
) -> docker.EndpointSettings:
    """Return a live endpoint in Docker's shape."""
    return msgspec.structs.replace(
        wish,
        MacAddress=endpoint.mac,
        NetworkID=network.id,
        EndpointID=endpoint.id,
        Gateway="" if network.internal else endpoint.gateway or network.gateway(endpoint.address),
        IPv6Gateway="" if network.internal else network.gateway(endpoint.address6),
        GlobalIPv6Address=endpoint.address6,
        GlobalIPv6PrefixLen=network.prefix(endpoint.address6),
        IPAddress=endpoint.address,
        IPPrefixLen=endpoint.prefix or network.prefix(endpoint.address),
        DNSNames=list(endpoint.names) if named else None,
    )


def network_event(network: NetworkRecord, action: str, container_id: str = "") -> docker.Event:
    """Return an event of a network."""
    attributes = {"name": network.name, "type": network.driver}
    if container_id:
        attributes["container"] = container_id
    return make_event("network", action, network.id, attributes)
