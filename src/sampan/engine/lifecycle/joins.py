"""Namespaces of other containers that a container joins, held open from their check to their use."""

from __future__ import annotations

import os
from types import TracebackType

from sampan.engine.bundle.namespaces import Sharing, parse_ipc_mode, parse_network_mode, parse_pid_mode
from sampan.engine.bundle.plan import Joins
from sampan.engine.container import Container
from sampan.engine.index import ContainerIndex
from sampan.engine.lifecycle.dependencies import joined_names
from sampan.engine.records import Record
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.kernel.process import start_ticks
from sampan.spec import docker


class OpenJoins:
    """Opens the namespaces that a record joins; use it in a `with` around the start.

    The runtime gets paths of our descriptors, not of a process: the other container may end meanwhile, and
    a stranger may get its pid.

    Raises:
        NotFound: no such container.
        Conflict: it does not run.
    """

    def __init__(self, index: ContainerIndex, record: Record) -> None:
        self._fds: list[int] = []
        try:
            self.paths = Joins(
                network=self._join(index, parse_network_mode(record.host.NetworkMode), "net"),
                pid=self._join(index, parse_pid_mode(record.host.PidMode), "pid"),
                ipc=self._join(index, parse_ipc_mode(record.host.IpcMode), "ipc"),
                shared_memory=_find_shared_memory(index, record),
            )
        except BaseException:
            self.close()
            raise

    def _join(self, index: ContainerIndex, sharing: Sharing, kind: str) -> str | None:
        if sharing.share != "container":
            return None
        fd = _open_namespace(index.get(sharing.container), sharing.container, kind)
        self._fds.append(fd)
        return f"/proc/{os.getpid()}/fd/{fd}"

    def close(self) -> None:
        """Close the descriptors; joined namespaces live on in who joined them."""
        while self._fds:
            os.close(self._fds.pop())

    def __enter__(self) -> OpenJoins:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_namespace(other: Container, name: str, kind: str) -> int:
    state = other.state
    try:
        fd = os.open(f"/proc/{state.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) if state.pid else -1
        if fd >= 0 and start_ticks(state.pid) == state.start_ticks:
            return fd
    except (FileNotFoundError, ProcessLookupError):
        fd = -1
    if fd >= 0:
        os.close(fd)
    raise Conflict(f"cannot join namespace of a non running container: {name}")


def check_joins(index: ContainerIndex, host: docker.HostConfig) -> None:
    """Refuse names of containers that do not exist, when a container is created.

    Raises:
        InvalidArgument: no such container.
    """
    for name in joined_names(host):
        get_joined(index, name)


def get_joined(index: ContainerIndex, name: str) -> Container:
    """Return the container whose namespace another one is to join.

    Raises:
        InvalidArgument: no such container. Not NotFound: clients take that of a create for a missing image.
    """
    try:
        return index.get(name)
    except NotFound as exc:
        raise InvalidArgument(str(exc)) from exc


def _find_shared_memory(index: ContainerIndex, record: Record) -> str | None:
    """Return the path of the /dev/shm that comes with a joined ipc namespace; None if none is joined.

    Its mount can only be cloned in its own mount namespace (runtime, sources.py). The path has a pid in it:
    its owner was found alive a moment ago (`_open_namespace`), and pids are not used again that soon.

    Raises:
        InvalidArgument: the other container does not share; in Docker's words.
    """
    sharing = parse_ipc_mode(record.host.IpcMode)
    if sharing.share != "container":
        return None
    other = index.get(sharing.container)
    mode = other.record.host.IpcMode
    if mode in ("", "private", "none"):
        raise InvalidArgument(
            f"container {sharing.container}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )
    return f"/proc/{other.state.pid}/root/dev/shm"
