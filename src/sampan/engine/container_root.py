"""A container's root, opened for its files: of a running one, or put together for one that does not run.

docs/files.md has the whole of it. Whoever opens a root counts as one of the container's `file_users` until it
is closed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from sampan import log
from sampan.engine.bundle.mount_wishes import UserMount, bind_options
from sampan.engine.bundle.mounts import mount_document
from sampan.engine.bundle.plan import Document
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.mount_points import user_mounts
from sampan.engine.records import Record
from sampan.errors import Conflict, NotFound
from sampan.ids import ContainerId
from sampan.kernel.namespaces import open_namespace
from sampan.kernel.process import open_same_process, pidfd_send_signal
from sampan.lean import Undo
from sampan.runtime.launcher.client import ViewRequest
from sampan.runtime.lifecycle import RootMount

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMount:
    """A mount of the container's that its files are reached through: a bind or a volume."""

    destination: str
    document: Document  # as in config.json


class OpenRoot:
    """The root of a container, with all its mounts; use it in a `with`.

    fd is O_PATH: names below it are opened with `open_in_root` only. A mount namespace is held along with it,
    so that a container that ends meanwhile leaves every mount where it is.
    """

    def __init__(self, container: Container, fds: list[int]) -> None:
        self._container = container
        self._fds = fds
        self.fd = fds[0]

    def close(self) -> None:
        """Give the root back; may be called twice."""
        if self._fds:
            while self._fds:
                os.close(self._fds.pop())
            self._container.file_users.end()

    def __enter__(self) -> OpenRoot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_root(core: Core, container: Container) -> OpenRoot:
    """Open a container's root with its mounts: its own ones while it runs, else its binds and volumes.

    Raises:
        Conflict: it is being removed. SampanError: it cannot be put together.
    """

    def open_fds() -> list[int]:
        return _open_running(container) or core.launchers.open_view(_view(core, container.record))

    return _open(container, open_fds)


def open_bare_root(core: Core, container: Container) -> OpenRoot:
    """Open a container's root without anything that is mounted in it: what an export holds.

    Raises:
        Conflict: it is being removed. SampanError: it cannot be put together.
    """

    def open_fds() -> list[int]:
        running = _open_running(container)
        if not running:
            return core.launchers.open_view(ViewRequest(root_mount=_root_mount(core, container.record)))
        try:
            return core.launchers.open_view(ViewRequest(), running[1])
        finally:
            for fd in running:
                os.close(fd)

    return _open(container, open_fds)


def _open(container: Container, open_fds: Callable[[], list[int]]) -> OpenRoot:
    with (
        container.lock,
        Undo() as undo,
    ):  # a start or stop under way is done first, none begins before the end
        if container.removed:
            raise Conflict(f"container {container.id} is marked for removal")
        container.file_users.begin()
        undo.add(container.file_users.end)
        root = OpenRoot(container, open_fds())
        undo.commit()
    return root


def _open_running(container: Container) -> list[int]:
    """Return the root and the mount namespace of a container's first process; nothing if it has ended.

    The process is named by pid and start time, and asked for again afterwards: what was opened is its own and
    no later one's.
    """
    state = container.state
    if not container.running or not state.pid:
        return []
    fds: list[int] = []
    try:
        pidfd = open_same_process(state.pid, state.start_ticks)
        try:
            fds.append(os.open(f"/proc/{state.pid}/root", _ROOT))
            fds.append(open_namespace(state.pid, "mnt"))
            pidfd_send_signal(pidfd, 0)
        finally:
            os.close(pidfd)
    except (FileNotFoundError, ProcessLookupError):
        log.debug("container has just ended", container=container.id)
        while fds:
            os.close(fds.pop())
    return fds


def _view(core: Core, record: Record) -> ViewRequest:
    return ViewRequest(
        root_mount=_root_mount(core, record),
        mounts=tuple(mount.document for mount in file_mounts(core, record)),
        read_only=record.host.ReadonlyRootfs,
    )


def _root_mount(core: Core, record: Record) -> RootMount:
    try:
        snapshot = core.store.snapshots.get(ContainerId(record.id))
    except NotFound as exc:
        raise Conflict(f"container {record.id} is marked for removal") from exc
    return RootMount(lower=snapshot.lower, upper=snapshot.upper, work=snapshot.work, options=snapshot.options)


def file_mounts(core: Core, record: Record) -> list[FileMount]:
    """Return the binds and volumes of a container, parents first, then the three files of its engine."""
    found = [
        FileMount(destination=mount.target, document=mount_document(mount))
        for mount in user_mounts(record)
        if mount.kind in ("bind", "volume") and mount.source
    ]
    taken = {mount.destination for mount in found}
    files = core.paths.host_files(record.id)
    for destination, source in (
        ("/etc/resolv.conf", files.resolv_conf),
        ("/etc/hostname", files.hostname),
        ("/etc/hosts", files.hosts),
    ):
        if destination not in taken and os.path.exists(source):  # written at the first start
            document = mount_document(
                UserMount(kind="bind", source=source, target=destination, options=bind_options("", "rw"))
            )
            found.append(FileMount(destination=destination, document=document))
    return found
