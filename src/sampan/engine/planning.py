"""Collect what a container's bundle is made of: devices, namespaces to join; then translate."""

from __future__ import annotations

from sampan.engine.bundle.config import Bundle, make_bundle
from sampan.engine.bundle.devices import find_devices
from sampan.engine.bundle.namespaces import Sharing, parse_network_mode, parse_pid_mode
from sampan.engine.bundle.plan import BundlePlan, Joins
from sampan.engine.core import Core
from sampan.engine.records import Record
from sampan.engine.users import User
from sampan.errors import Conflict, NotFound


def plan_bundle(core: Core, record: Record, *, user: User, joins: Joins) -> Bundle:
    """Translate a record for this machine as it is now."""
    settings = core.settings
    return make_bundle(
        BundlePlan(
            id=record.id,
            config=record.config,
            host=record.host,
            machine=core.machine,
            user=user,
            files=core.paths.host_files(record.id),
            devices=find_devices(record.host),
            joins=joins,
            cgroup=record.cgroup,
            pids_limit=settings.pids_limit,
            shm_size_bytes=settings.shm_size_bytes,
            no_new_privileges=settings.no_new_privileges,
        )
    )


def find_joins(core: Core, record: Record) -> Joins:
    """Look up the containers whose namespaces are joined.

    Raises:
        NotFound: no such container.
        Conflict: it does not run.
    """
    return Joins(
        network_pid=_find_pid(core, parse_network_mode(record.host.NetworkMode)),
        pid_pid=_find_pid(core, parse_pid_mode(record.host.PidMode)),
    )


def _find_pid(core: Core, sharing: Sharing) -> int | None:
    if sharing.share != "container":
        return None
    other = core.index.get(sharing.container)
    if not other.running:
        raise Conflict(f"cannot join namespace of a non running container: {sharing.container}")
    return other.state.pid


def check_joins(core: Core, record: Record) -> None:
    """Refuse names of containers that do not exist, when a container is created.

    Raises:
        NotFound: no such container.
    """
    for sharing in (parse_network_mode(record.host.NetworkMode), parse_pid_mode(record.host.PidMode)):
        if sharing.share == "container" and core.index.get(sharing.container).id == record.id:
            raise NotFound(f"No such container: {sharing.container}")
