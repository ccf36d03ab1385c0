"""The inputs of a bundle, all known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sampan.engine.bundle.mount_wishes import UserMount
from sampan.engine.files.users import User
from sampan.engine.machine import Machine
from sampan.spec import docker

Document = dict[str, object]  # one JSON object of config.json
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """One device node to make: kind `c` or `b`; access of the letters rwm, "" for no rule of its own."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFiles:
    """Paths on the host of the three files that are bound over the image's."""

    hostname: str
    hosts: str
    resolv_conf: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joins:
    """Paths of other containers' namespaces to join; None: one's own, or the host's.

    shared_memory: the path of the /dev/shm that belongs to ipc; None: that one has none.
    """

    network: str | None = None
    pid: str | None = None
    ipc: str | None = None
    shared_memory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """What config.json is made of. config is merged with the image's; host is as the client sent it.

    mounts: None, those of host alone. cgroup: the container's own, below the root of each tree.
    """

    id: str
    config: docker.Config
    host: docker.HostConfig
    machine: Machine
    user: User
    files: HostFiles
    devices: tuple[DeviceNode, ...] = ()
    joins: Joins = Joins()
    mounts: tuple[UserMount, ...] | None = None
    cgroup: str
    pids_limit: int
    shm_size_bytes: int
    no_new_privileges: bool = False
