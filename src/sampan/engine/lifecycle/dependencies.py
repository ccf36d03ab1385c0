"""Which containers another one needs to start: those whose namespaces it joins."""

from __future__ import annotations

from sampan.engine.bundle.namespaces import parse_ipc_mode, parse_network_mode, parse_pid_mode
from sampan.engine.container import Container
from sampan.engine.index import ContainerIndex
from sampan.engine.records import Record
from sampan.errors import Conflict, NotFound
from sampan.spec import docker


def joined_names(host: docker.HostConfig) -> list[str]:
    """Return the containers that a container joins, as the client wrote them, each once."""
    sharings = (
        parse_network_mode(host.NetworkMode),
        parse_pid_mode(host.PidMode),
        parse_ipc_mode(host.IpcMode),
    )
    return list(dict.fromkeys(one.container for one in sharings if one.share == "container"))


def network_owner(index: ContainerIndex, record: Record) -> Record:
    """Return whose network a container uses: its own record, or that at the end of the chain it joins.

    A chain that breaks off behind the first container, or is a cycle, ends there: the start will say so.

    Raises:
        NotFound: the container that it joins does not exist.
    """
    seen = {record.id}
    while (sharing := parse_network_mode(record.host.NetworkMode)).share == "container":
        try:
            following = index.get(sharing.container).record
        except NotFound:
            if len(seen) == 1:
                raise
            break
        if following.id in seen:
            break
        record = following
        seen.add(record.id)
    return record


def find_blocker(index: ContainerIndex, container: Container) -> Container | None:
    """Return a container that is itself to be started again and must run before this one.

    Raises:
        Conflict: they wait for each other.
        NotFound: a container that is joined does not exist.
    """
    for name in joined_names(container.record.host):
        other = index.get(name)
        if other.state.status == "restarting":
            _check_cycle(index, container, other)
            return other
    return None


def _check_cycle(index: ContainerIndex, container: Container, other: Container) -> None:
    """Raise if other can only start after container."""
    trail = {other.id: f"{container.record.name} → {other.record.name}"}
    todo = [other]
    while todo:
        one = todo.pop()
        if one is container:
            raise Conflict(f"containers join each other: {trail[one.id]}")
        for name in joined_names(one.record.host):
            following = index.get(name)
            if following.id not in trail and following.state.status == "restarting":
                trail[following.id] = f"{trail[one.id]} → {following.record.name}"
                todo.append(following)
