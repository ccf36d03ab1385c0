"""`--link` on the default network: variables and hosts lines of the containers one is linked to.

On user-defined networks a link is a name in one container's DNS view, and nothing here is asked
(`engine/networks/naming.py`). A link is kept as `id:alias`, so that it outlives a rename.
Source: Docker's pages "Legacy container links" and "docker run", `--link`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from sampan.engine.container import Container
from sampan.engine.index import ContainerIndex
from sampan.engine.networks.hostfiles import HostsLine
from sampan.engine.networks.wishes import parse_container_port, parse_link
from sampan.engine.records import Record
from sampan.errors import InvalidArgument, NotFound, SampanError
from sampan.network.model import BRIDGE, Endpoint
from sampan.network.networks import Networks

_LEFT_OUT = ("HOME", "PATH")  # of the linked container's own variables


class Linking:
    """Who is linked to whom; any thread may call."""

    def __init__(self, index: ContainerIndex, networks: Networks) -> None:
        self._index = index
        self._networks = networks
        self._lock = threading.Lock()
        self._parents: dict[str, set[str]] = {}  # of those that were started, by linked container

    def resolve(self, links: Sequence[str], mode: str) -> list[str]:
        """Return links as they are kept; on other networks than the default one, as they are.

        Raises:
            InvalidArgument: another form, or no such container.
        """
        pairs = [parse_link(text) for text in links]
        if mode != BRIDGE:
            return list(links)
        kept = []
        for name, alias in pairs:
            try:
                target = self._index.get(name)
            except NotFound as exc:
                raise InvalidArgument(f"could not get container for {name}: {exc}") from exc
            if target.record.host.NetworkMode == "host":
                raise InvalidArgument(
                    "conflicting options: host type networking can't be used with links. This would result "
                    "in undefined behavior"
                )
            kept.append(f"{target.id}:{alias}")
        return kept

    def shown(self, record: Record) -> list[str]:
        """Return a container's links as inspect has them: `/db:/web/database`."""
        if record.host.NetworkMode != BRIDGE:
            return list(record.host.Links)
        return [
            f"/{target.record.name}:/{record.name}/{alias}"
            for target, alias in self._targets(record.host.Links)
        ]

    def lines(self, record: Record) -> list[HostsLine]:
        """Return the hosts lines of a container that is about to start.

        Raises:
            SampanError: one it is linked to does not run, or is not on the default network.
        """
        lines = []
        for target, alias in self._targets(record.host.Links) if record.host.NetworkMode == BRIDGE else ():
            endpoint = self._endpoint(target)
            if endpoint is None:
                shown = f"/{target.record.name} AS /{record.name}/{alias}"
                if target.running:
                    raise SampanError(f"container {target.id} not attached to default bridge network")
                raise SampanError(
                    f"Cannot link to a non running container: {shown}",
                    hint=f"start {target.record.name} first",
                )
            lines += _lines(target.record, alias, endpoint)
            with self._lock:
                self._parents.setdefault(target.id, set()).add(record.id)
        return lines

    def environment(self, record: Record) -> list[str]:
        """Return the variables that a container has by its links, in Docker's form."""
        if record.host.NetworkMode != BRIDGE:
            return []
        variables: list[str] = []
        for target, alias in self._targets(record.host.Links):
            endpoint = self._endpoint(target)
            if endpoint is not None:
                variables += _variables(target.record, alias, endpoint.address, parent=record.name)
        return variables

    def restore(self) -> None:
        """Learn who runs with links, after sampand was away."""
        for container in self._index.all():
            record = container.record
            if record.host.Links and container.running and record.host.NetworkMode == BRIDGE:
                for target, _ in self._targets(record.host.Links):
                    self._parents.setdefault(target.id, set()).add(record.id)

    def changes(self, record: Record) -> list[tuple[str, list[HostsLine]]]:
        """Return who runs linked to a container that has got its address, and the lines for each."""
        with self._lock:
            parents = list(self._parents.get(record.id, ()))
        endpoint = self._networks.endpoint(record.id, BRIDGE)
        if endpoint is None:
            return []
        found = []
        for parent_id in parents:
            parent = self._find(parent_id)
            if parent is not None and parent.running:
                aliases = [
                    alias
                    for target, alias in self._targets(parent.record.host.Links)
                    if target.id == record.id
                ]
                found.append((parent_id, [line for one in aliases for line in _lines(record, one, endpoint)]))
        return found

    def _targets(self, links: Iterable[str]) -> list[tuple[Container, str]]:
        """Return linked containers and aliases; those that were removed are left out, as by Docker."""
        pairs = [link.partition(":") for link in links]
        found = [(self._find(target), alias) for target, _, alias in pairs]
        return [(target, alias) for target, alias in found if target is not None]

    def _find(self, container_id: str) -> Container | None:
        try:
            return self._index.get(container_id)
        except NotFound:
            return None

    def _endpoint(self, target: Container) -> Endpoint | None:
        return self._networks.endpoint(target.id, BRIDGE) if target.running else None


def _lines(target: Record, alias: str, endpoint: Endpoint) -> list[HostsLine]:
    names = " ".join(dict.fromkeys((alias, target.config.Hostname, target.name)))
    return [(address, names) for address in endpoint.addresses]


def _variables(target: Record, alias: str, address: str, *, parent: str) -> list[str]:
    """Return `DB_PORT=…`, `DB_PORT_5432_TCP=…`, `DB_NAME=…`, `DB_ENV_…=…` of one link."""
    prefix = alias.upper().replace("-", "_")
    ports = sorted(map(parse_container_port, target.config.ExposedPorts), key=_tcp_first)
    found = [f"{prefix}_PORT={ports[0][1]}://{address}:{ports[0][0]}"] if ports else []
    for place, (port, protocol) in enumerate(ports):
        key = f"{prefix}_PORT_{port}_{protocol.upper()}"
        found += [f"{key}={protocol}://{address}:{port}", f"{key}_ADDR={address}", f"{key}_PORT={port}"]
        found.append(f"{key}_PROTO={protocol}")
        last = _end_of_range(ports, place)
        if last > port:
            found += [f"{key}_START={protocol}://{address}:{port}", f"{key}_PORT_START={port}"]
            found += [f"{key}_END={protocol}://{address}:{last}", f"{key}_PORT_END={last}"]
    found.append(f"{prefix}_NAME=/{parent}/{alias}")
    for entry in target.config.Env:
        key, equals, value = entry.partition("=")
        if equals and key not in _LEFT_OUT:
            found.append(f"{prefix}_ENV_{key}={value}")
    return found


def _tcp_first(port: tuple[int, str]) -> tuple[bool, str, int]:
    return port[1] != "tcp", port[1], port[0]


def _end_of_range(ports: Sequence[tuple[int, str]], place: int) -> int:
    """Return the last of the consecutive ports that begin at a place; the port itself inside such a row."""
    port, protocol = ports[place]
    if place and ports[place - 1] == (port - 1, protocol):
        return port
    known = set(ports)
    last = port
    while (last + 1, protocol) in known:
        last += 1
    return last
