"""Create a container: check everything, then make it, or leave nothing behind."""

from __future__ import annotations

import os
import stat
import time

import msgspec

from sampan.engine import names
from sampan.engine.bundle.config import cgroup_path
from sampan.engine.bundle.mount_parsing import parse_mounts
from sampan.engine.bundle.mount_wishes import UserMount
from sampan.engine.bundle.namespaces import parse_network_mode
from sampan.engine.bundle.plan import Joins
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.events import container_event
from sampan.engine.hello_image import resolve_image
from sampan.engine.joins import check_joins
from sampan.engine.planning import plan_bundle
from sampan.engine.records import Record
from sampan.engine.requests import check_platform, check_request, log_limits, merge_image
from sampan.engine.users import User
from sampan.errors import InvalidArgument, Unsupported
from sampan.ids import ContainerId, new_container_id
from sampan.kernel.overlay import overlay_mount
from sampan.kernel.resolve import mkdir_in_root
from sampan.lean import Undo
from sampan.spec import docker
from sampan.store.model import Image
from sampan.store.snapshots import Snapshot


class Creator:
    """Makes containers."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def create(self, request: docker.ContainerCreate, *, name: str, platform: str) -> docker.CreateResponse:
        """See `Containers.create`."""
        core = self._core
        name = name.removeprefix("/")
        if name:
            names.check_name(name)
        check_request(request)
        image = resolve_image(core, request.Image)
        check_platform(platform, image.config, arch=core.machine.arch, image_name=request.Image)
        warnings: list[str] = []
        record = self._make_record(request, image, warnings)
        record = msgspec.structs.replace(record, name=name or names.make_name(core.index.is_name_free))
        warnings += self._check_bundle(record)
        mounts = parse_mounts(record.host)
        for mount in mounts:
            if mount.kind in ("volume", "image"):
                raise Unsupported(f"not supported yet: mount of type {mount.kind!r} at {mount.target!r}")
        record = msgspec.structs.replace(record, mounts=mounts)
        check_sources(mounts)
        self._make(record, image, mounts)
        return docker.CreateResponse(Id=record.id, Warnings=list(dict.fromkeys(warnings)))

    def _make_record(self, request: docker.ContainerCreate, image: Image, warnings: list[str]) -> Record:
        core = self._core
        container_id = new_container_id()
        host = request.HostConfig
        config = merge_image(request.config(), image.config.config, warnings.append)
        if config.Volumes:
            warnings.append(
                "volumes are not supported yet: the image's VOLUMEs "
                f"({', '.join(config.Volumes)}) are folders of the container"
            )
        if host.NetworkMode in ("", "default") and not config.NetworkDisabled:
            warnings.append("networks are not supported yet: the container has a loopback interface only")
        max_size, max_files = log_limits(
            host.LogConfig,
            max_size_bytes=core.settings.log.max_size_bytes,
            max_files=core.settings.log.max_files,
        )
        return Record(
            id=container_id,
            name="",
            created_ns=time.time_ns(),
            image_id=image.id,
            image=request.Image,
            config=msgspec.structs.replace(config, Hostname=self._hostname(config, host, container_id)),
            host=host,
            network=request.NetworkingConfig,
            runtime=core.runtimes.choose(host.Runtime),
            cgroup=cgroup_path(container_id, host.CgroupParent or core.settings.cgroup_parent),
            log_max_size=max_size,
            log_max_files=max_files,
        )

    def _hostname(self, config: docker.Config, host: docker.HostConfig, container_id: str) -> str:
        sharing = parse_network_mode(host.NetworkMode)
        if sharing.share == "container":
            return self._core.index.get(sharing.container).record.config.Hostname
        if config.Hostname or host.UTSMode == "host" or sharing.share == "host":
            return config.Hostname or os.uname().nodename
        return container_id[:12]

    def _check_bundle(self, record: Record) -> tuple[str, ...]:
        """Translate once, for the refusals; user and joined namespaces are looked up at the start."""
        core = self._core
        check_joins(core.index, record)
        if record.host.Init and core.runtimes.command(record.runtime) is not None:
            raise InvalidArgument(f"Init works with the runtime sampan only, not with {record.runtime}")
        if record.host.IpcMode.startswith("container:") and core.runtimes.command(record.runtime) is not None:
            raise InvalidArgument(
                f"IpcMode {record.host.IpcMode} works with the runtime sampan only, not with {record.runtime}"
            )
        return plan_bundle(core, record, user=User(), joins=Joins()).warnings

    def _make(self, record: Record, image: Image, mounts: tuple[UserMount, ...]) -> None:
        core = self._core
        container = Container(record)
        with Undo() as undo:
            core.index.reserve_name(record.name, record.id)
            undo.add(core.index.release_name, record.name, record.id)
            make_sources(mounts)
            snapshot = core.store.snapshots.prepare(ContainerId(record.id), image)
            undo.add(core.store.snapshots.remove, ContainerId(record.id))
            if record.config.Volumes:
                make_volume_folders(snapshot, list(record.config.Volumes))
            created = container_event(container, "create")
            with core.journal.transaction():
                core.journal.insert(record)
                core.journal.add_event(created)
            undo.commit()
        core.index.add(container)
        core.events.publish(created)


def check_sources(mounts: tuple[UserMount, ...]) -> None:
    """Refuse binds of what is not there, unless the missing folder is to be made.

    Raises:
        InvalidArgument: in Docker's words.
    """
    for mount in mounts:
        if mount.kind == "bind" and not mount.make_source and not os.path.lexists(mount.source):
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )


def make_sources(mounts: tuple[UserMount, ...]) -> None:
    """Make the missing source folders of `-v`, as Docker does: root's, 0755. They stay.

    Raises:
        InvalidArgument: the folder cannot be made.
    """
    for mount in mounts:
        if mount.kind == "bind" and mount.make_source:
            try:
                os.makedirs(mount.source, mode=0o755, exist_ok=True)
            except FileExistsError:
                continue  # a file, a device, a socket: bound as it is
            except OSError as exc:
                raise InvalidArgument(f"cannot make bind source {mount.source}: {exc.strerror}") from exc


def make_volume_folders(snapshot: Snapshot, unsafe_paths: list[str]) -> None:
    """Make the folders of an image's VOLUMEs where it lacks them, inside the container's own root."""
    root_fd = overlay_mount(
        lower=snapshot.lower, upper=snapshot.upper, work=snapshot.work, options=snapshot.options
    )
    try:
        for path in unsafe_paths:
            fd = mkdir_in_root(root_fd, path)
            try:
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    raise InvalidArgument(f"cannot make volume {path!r}: the image has no directory there")
            finally:
                os.close(fd)
    finally:
        os.close(root_fd)
