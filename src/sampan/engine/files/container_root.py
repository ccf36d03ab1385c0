"""A container's root, opened for its files: of a running one, or put together for one that does not run.

docs/files.md has the whole of it. Whoever opens a root counts as one of the container's `file_users` until it
is closed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType

import msgspec

from sampan import log
from sampan.engine.bundle.mount_wishes import UserMount, bind_options
from sampan.engine.bundle.mounts import mount_document
from sampan.engine.bundle.plan import Document
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.images.layer_views import root_mount
from sampan.engine.records import Record
from sampan.engine.volumes.mount_points import user_mounts
from sampan.engine.volumes.mount_preparing import volume_names
from sampan.engine.volumes.mounting import VolumeMounting, needs_mount
from sampan.errors import Conflict, NotFound
from sampan.ids import ContainerId, new_container_id
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

    def __init__(self, container: Container, fds: list[int], borrowed: BorrowedVolumes | None = None) -> None:
        self._container = container
        self._fds = fds
        self._borrowed = borrowed
        self.fd = fds[0]

    def close(self) -> None:
        """Give the root back; may be called twice."""
        if self._fds:
            while self._fds:
                os.close(self._fds.pop())
            if self._borrowed is not None:
                self._borrowed.close()
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

    borrowed = BorrowedVolumes(core.volumes.mounting)

    def open_fds() -> list[int]:
        running = _open_running(container)
        if running:
            return running
        borrowed.take(core, container.record)
        return core.launchers.open_view(_view(core, container.record, borrowed))

    try:
        return _open(container, open_fds, borrowed)
    except BaseException:
        borrowed.close()
        raise


class BorrowedVolumes:
    """Volumes that have to be mounted to be seen, for the time that a stopped container's root is open."""

    def __init__(self, mounting: VolumeMounting) -> None:
        self._mounting = mounting
        self._user = str(new_container_id())
        self.paths: dict[str, str] = {}

    def take(self, core: Core, record: Record) -> None:
        """Mount what a container has of these.

        Raises:
            SampanError: one cannot be mounted.
        """
        for name in volume_names(record):
            volume = core.volumes.get(name)
            if needs_mount(volume):
                self.paths[name] = self._mounting.acquire(volume, self._user)

    def close(self) -> None:
        """Let them go; may be called twice."""
        while self.paths:
            self._mounting.release(self.paths.popitem()[0], self._user)


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


def _open(
    container: Container, open_fds: Callable[[], list[int]], borrowed: BorrowedVolumes | None = None
) -> OpenRoot:
    with (
        container.lock,
        Undo() as undo,
    ):  # a start or stop under way is done first, none begins before the end
        if container.removed:
            raise Conflict(f"container {container.id} is marked for removal")
        container.file_users.begin()
        undo.add(container.file_users.end)
        root = OpenRoot(container, open_fds(), borrowed)
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


def _view(core: Core, record: Record, borrowed: BorrowedVolumes) -> ViewRequest:
    return ViewRequest(
        root_mount=_root_mount(core, record),
        mounts=tuple(mount.document for mount in file_mounts(core, record, borrowed.paths)),
        read_only=record.host.ReadonlyRootfs,
    )


def _root_mount(core: Core, record: Record) -> RootMount:
    try:
        snapshot = core.store.snapshots.get(ContainerId(record.id))
    except NotFound as exc:
        raise Conflict(f"container {record.id} is marked for removal") from exc
    return root_mount(snapshot)


def file_mounts(
    core: Core, record: Record, paths: Mapping[str, str] = MappingProxyType({})
) -> list[FileMount]:
    """Return the binds and volumes of a container, parents first, then the three files of its engine.

    paths: where volumes are mounted now, by name.
    """
    mounts = [
        msgspec.structs.replace(mount, source=paths.get(mount.name, mount.source), ids=None)
        for mount in user_mounts(record)
        if mount.kind in ("bind", "volume")
    ]
    found = [
        FileMount(destination=mount.target, document=mount_document(mount))
        for mount in mounts
        if mount.source
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
