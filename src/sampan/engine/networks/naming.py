"""Containers and their names: what a start, an end and a change of networks say to sampan-dns (docs/dns.md).

User-defined networks have names, the default one if asked for (`--default-network-names`). Nothing is
kept here that `Networks` does not have: after a restart of
sampand, or a death of sampan-dns, all of it is said again.
"""

from __future__ import annotations

import os
from typing import Final

from sampan import log
from sampan.engine.index import ContainerIndex
from sampan.engine.networks.wishes import find_endpoint, parse_link
from sampan.engine.options import EngineSettings
from sampan.engine.records import Record
from sampan.engine.supervisor import Last, Supervisor
from sampan.errors import InvalidArgument, NotFound, Unavailable
from sampan.kernel.namespaces import open_namespace
from sampan.kernel.process import open_same_process, pidfd_open
from sampan.network.dns.client import Place, Resolver
from sampan.network.dns.model import Endpoint, Link, Network, View
from sampan.network.dns.resolvconf import Resolving, plan_resolving
from sampan.network.model import Endpoint as NetworkEndpoint
from sampan.network.model import NetworkRecord
from sampan.network.networks import Networks

_RESOLV_CONF: Final = "/etc/resolv.conf"


class Naming:
    """Keeps sampan-dns in step with networks; any thread may call."""

    def __init__(
        self, settings: EngineSettings, networks: Networks, index: ContainerIndex, supervisor: Supervisor
    ) -> None:
        self._settings = settings
        self._networks = networks
        self._index = index
        self._supervisor = supervisor
        self._resolver = Resolver(settings.roots.run, self._open_place, on_started=self._watch)
        self._known: set[str] = set()

    def prepare(self) -> None:
        """Start sampan-dns ahead of the first container on a user-defined network (30 ms)."""
        try:
            self._resolver.prepare()
        except Unavailable as exc:
            log.warning("sampan-dns cannot be started yet", reason=exc)

    def plan(self, record: Record) -> Resolving | None:
        """Return the resolv.conf of a container with user-defined networks, None for others."""
        found = self._networks.of(record.id)
        if not self._named(found):
            return None
        settings = self._settings
        return plan_resolving(
            _read(_RESOLV_CONF),
            dns=record.host.Dns or settings.dns,
            search=record.host.DnsSearch or settings.dns_search,
            options=record.host.DnsOptions or settings.dns_options,
            internal=all(network.internal for network, _ in found),
        )

    def attach(self, record: Record, namespace_fd: int) -> None:
        """Answer at 127.0.0.11 in a container's namespace, and make its names known.

        Raises:
            Unavailable: sampan-dns cannot be started.
        """
        view = self._view(record)
        if view is None:
            return
        found = self._named(self._networks.of(record.id))
        for network, _ in found:
            self._know(network)
        endpoints = [_endpoint(endpoint) for _, endpoint in found]
        self._resolver.serve(view, Place(namespace_fd=namespace_fd), endpoints=endpoints)

    def started(self, record: Record) -> None:
        """Let the container's resolver end with its first process, even while sampand is away."""
        if self._view(record) is None:
            return
        try:
            pidfd = open_same_process(record.state.pid, record.state.start_ticks)
        except ProcessLookupError:
            return  # its end is on the way
        try:
            self._resolver.watch(record.id, pidfd)
        finally:
            os.close(pidfd)

    def detach(self, container_id: str) -> None:
        """Forget a container's names, and answer it no more."""
        self._resolver.leave(container_id)

    def change(self, record: Record, namespace_fd: int) -> None:
        """Follow a change of a running container's networks."""
        found = self._named(self._networks.of(record.id))
        if not found:
            self._resolver.leave(record.id)
            return
        self._resolver.withdraw_others(record.id, [network.id for network, _ in found])
        self.attach(record, namespace_fd)

    def publish(self, container_id: str) -> None:
        """Say a running container's names again: they have changed."""
        for _, endpoint in self._named(self._networks.of(container_id)):
            self._resolver.publish(_endpoint(endpoint))

    def forget_network(self, network_id: str) -> None:
        """Forget a network that was removed."""
        self._known.discard(network_id)
        self._resolver.drop_network(network_id)

    def restore(self) -> None:
        """Say everything again to the sampan-dns that went on while sampand was away."""
        views = []
        for container in self._index.all():
            view = self._view(container.record) if container.running else None
            if view is None:
                continue
            views.append(view)
            for network, endpoint in self._named(self._networks.of(container.id)):
                self._know(network)
                self._resolver.publish(_endpoint(endpoint))
        self._resolver.restore(views)

    def close(self) -> None:
        """Let go; sampan-dns goes on."""
        self._resolver.close()

    def _know(self, network: NetworkRecord) -> None:
        if network.id not in self._known:
            subnets = tuple(pool.subnet for pool in network.pools)
            self._resolver.put_network(Network(id=network.id, name=network.name, subnets=subnets))
            self._known.add(network.id)

    def _view(self, record: Record) -> View | None:
        plan = self.plan(record)
        if plan is None:
            return None
        found = self._named(self._networks.of(record.id))
        links = [
            Link(network=network.id, alias=alias, target=self._name_of(target))
            for network, _ in found
            for target, alias in map(parse_link, find_endpoint(record, network).Links or ())
        ]
        return View(
            container=record.id,
            networks=tuple(network.id for network, _ in found),
            links=tuple(links),
            servers=plan.servers,
            ndots=plan.ndots,
        )

    def _name_of(self, ref: str) -> str:
        """Return the name of a container that a link means; as it is written, when there is none yet."""
        try:
            return self._index.get(ref).record.name
        except (InvalidArgument, NotFound):
            return ref

    def has_names(self, network: NetworkRecord) -> bool:
        """Tell whether containers of a network find each other by name."""
        return self._settings.default_network_names or not network.predefined

    def _named(
        self, found: list[tuple[NetworkRecord, NetworkEndpoint]]
    ) -> list[tuple[NetworkRecord, NetworkEndpoint]]:
        return [(network, endpoint) for network, endpoint in found if self.has_names(network)]

    def _open_place(self, container_id: str) -> Place | None:
        try:
            container = self._index.get(container_id)
        except NotFound:
            return None
        if not container.running:
            return None
        state = container.state
        try:
            pidfd = open_same_process(state.pid, state.start_ticks)
        except ProcessLookupError:
            return None
        try:
            return Place(namespace_fd=open_namespace(state.pid, "net"), pidfd=pidfd)
        except FileNotFoundError:
            os.close(pidfd)
            return None

    def _watch(self, pid: int) -> None:
        """Have another sampan-dns started as soon as this one dies."""
        try:
            pidfd = pidfd_open(pid)
        except ProcessLookupError:
            return  # the next change finds that out

        def died() -> Last:
            def heal() -> None:
                os.close(pidfd)
                self._resolver.heal()

            return heal

        self._supervisor.watch(pidfd, died)


def _endpoint(endpoint: NetworkEndpoint) -> Endpoint:
    return Endpoint(
        network=endpoint.network,
        container=endpoint.container,
        names=endpoint.names,
        addresses=endpoint.addresses,
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""
