"""Translate a record, with what must be asked of the machine."""

from __future__ import annotations

import os

from sampan.engine.bundle.config import Bundle, make_bundle
from sampan.engine.bundle.devices import find_devices
from sampan.engine.bundle.mount_wishes import UserMount
from sampan.engine.bundle.plan import BundlePlan, HostFiles, Joins
from sampan.engine.core import Core
from sampan.engine.files.users import User
from sampan.engine.lifecycle.dependencies import network_owner
from sampan.engine.records import Record


def plan_bundle(
    core: Core,
    record: Record,
    *,
    user: User,
    joins: Joins,
    mounts: tuple[UserMount, ...] | None = None,
) -> Bundle:
    """Translate a record for this machine as it is now; mounts: as they are prepared for a start."""
    settings = core.settings
    return make_bundle(
        BundlePlan(
            id=record.id,
            config=record.config,
            host=record.host,
            machine=core.machine,
            user=user,
            files=_host_files(core, record),
            devices=find_devices(record.host),
            joins=joins,
            mounts=record.mounts if mounts is None else mounts,
            cgroup=record.cgroup,
            pids_limit=settings.pids_limit,
            shm_size_bytes=settings.shm_size_bytes,
            no_new_privileges=settings.no_new_privileges,
        )
    )


def _host_files(core: Core, record: Record) -> HostFiles:
    """Return the container's files; who joins another's network sees those of that one, if it ever ran."""
    files = core.paths.host_files(network_owner(core.index, record).id)
    return files if os.path.exists(files.resolv_conf) else core.paths.host_files(record.id)
