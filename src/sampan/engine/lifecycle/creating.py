"""Create a container: check everything, then make it, or leave nothing behind."""

from __future__ import annotations

import os
import time

import msgspec

from sampan.engine import names
from sampan.engine.bundle.config import cgroup_path
from sampan.engine.bundle.namespaces import is_network_name, parse_network_mode
from sampan.engine.bundle.plan import Joins
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.files.users import User
from sampan.engine.images.hello_image import resolve_image
from sampan.engine.lifecycle.joins import check_joins, get_joined
from sampan.engine.lifecycle.planning import plan_bundle
from sampan.engine.logs.config import merge_log_config
from sampan.engine.logs.settings import check_log
from sampan.engine.observing.events import container_event
from sampan.engine.records import Record
from sampan.engine.requests import check_platform, check_request, merge_image, root_size
from sampan.engine.volumes.mount_planning import MountMaker, gather_mounts, undo_mounts
from sampan.engine.volumes.mount_preparing import check_source, make_source
from sampan.errors import InvalidArgument
from sampan.ids import ContainerId, new_container_id
from sampan.lean import Undo
from sampan.spec import docker
from sampan.store.model import Image
from sampan.store.platforms import parse_platform


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
        check_joins(core.index, request.HostConfig)
        image = resolve_image(core, request.Image, parse_platform(platform) if platform else None)
        check_platform(platform, image.config, arch=core.machine.arch, image_name=request.Image)
        warnings: list[str] = []
        record = self._make_record(request, image, warnings)
        record = msgspec.structs.replace(record, name=name or names.make_name(core.index.is_name_free))
        warnings += self._check_bundle(record)
        for mount in record.mounts or ():
            check_source(mount)
        record = self._make(record, image)
        return docker.CreateResponse(Id=record.id, Warnings=list(dict.fromkeys(warnings)))

    def _make_record(self, request: docker.ContainerCreate, image: Image, warnings: list[str]) -> Record:
        core = self._core
        container_id = new_container_id()
        host = request.HostConfig
        config = merge_image(request.config(), image.config.config, warnings.append)
        mounts = gather_mounts(core, config, host, image_volumes=image.config.config.Volumes or {})
        host, networking = with_default_network(host, request.NetworkingConfig, core.settings.default_network)
        if (host.PortBindings or host.PublishAllPorts) and not is_network_name(host.NetworkMode):
            mode = host.NetworkMode or "default"
            warnings.append(f"Published ports are discarded when using {mode} network mode")
        if host.Links:
            links = core.linking.resolve(host.Links, host.NetworkMode)
            host = msgspec.structs.replace(host, Links=links)
        defaults = core.settings.log
        host = msgspec.structs.replace(host, LogConfig=merge_log_config(host.LogConfig, defaults))
        return Record(
            id=container_id,
            name="",
            created_ns=time.time_ns(),
            image_id=image.id,
            image=request.Image,
            config=msgspec.structs.replace(config, Hostname=self._hostname(config, host, container_id)),
            host=host,
            network=networking,
            runtime=core.runtimes.choose(host.Runtime),
            cgroup=cgroup_path(container_id, host.CgroupParent or core.settings.cgroup_parent),
            log_max_size=defaults.max_size_bytes,
            log_max_files=defaults.max_files,
            mounts=mounts,
        )

    def _hostname(self, config: docker.Config, host: docker.HostConfig, container_id: str) -> str:
        sharing = parse_network_mode(host.NetworkMode)
        if sharing.share == "container":
            return get_joined(self._core.index, sharing.container).record.config.Hostname
        if config.Hostname or host.UTSMode == "host" or sharing.share == "host":
            return config.Hostname or os.uname().nodename
        return container_id[:12]

    def _check_bundle(self, record: Record) -> tuple[str, ...]:
        """Translate once, for the refusals; user and joined namespaces are looked up at the start."""
        core = self._core
        check_log(record, core.settings.log)
        if record.host.Init and core.runtimes.command(record.runtime) is not None:
            raise InvalidArgument(f"Init works with the runtime sampan only, not with {record.runtime}")
        if record.host.IpcMode.startswith("container:") and core.runtimes.command(record.runtime) is not None:
            raise InvalidArgument(
                f"IpcMode {record.host.IpcMode} works with the runtime sampan only, not with {record.runtime}"
            )
        return plan_bundle(core, record, user=User(), joins=Joins()).warnings

    def _make(self, record: Record, image: Image) -> Record:
        core = self._core
        with Undo() as undo:
            core.index.reserve_name(record.name, record.id)
            undo.add(core.index.release_name, record.name, record.id)
            for mount in record.mounts or ():
                make_source(mount)
            size_bytes = root_size(record.host)
            snapshot = core.store.snapshots.prepare(ContainerId(record.id), image, size_bytes=size_bytes)
            undo.add(core.store.snapshots.remove, ContainerId(record.id))
            undo.add(undo_mounts, core, record.id)
            mounts = MountMaker(core, record, snapshot).make()
            container = Container(msgspec.structs.replace(record, mounts=mounts))
            created = container_event(container, "create")
            with core.journal.transaction():
                core.journal.insert(container.record)
                core.store.volumes.settle(record.id)
                core.journal.add_event(created)
            undo.commit()
        core.index.add(container)
        core.events.publish(created)
        return container.record


def with_default_network(
    host: docker.HostConfig, networking: docker.NetworkingConfig, default: str
) -> tuple[docker.HostConfig, docker.NetworkingConfig]:
    """Return the request with the network that `default` means; none is left as it was written."""
    if host.NetworkMode not in ("", "default") or default != "bridge":
        return host, networking
    endpoints = {
        default if name == "default" else name: endpoint
        for name, endpoint in networking.EndpointsConfig.items()
    }
    return (
        msgspec.structs.replace(host, NetworkMode=default),
        docker.NetworkingConfig(EndpointsConfig=endpoints),
    )
