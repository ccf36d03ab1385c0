"""A container as it is remembered."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from sampan.engine.bundle.mount_wishes import UserMount
from sampan.spec import docker

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


class State(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a container is doing. Times in ns since 1970, 0: never.

    pid and start_ticks name its first process. exit_code as Docker counts it: 128 + signal; error: why
    a start failed. restart_count: starts by the restart policy since the last one by hand. backoff_s: how
    long the last of them waited, or the next one waits since finished_at_ns.
    manually_stopped: a user ended it, or is about to (docs/restarts-and-health.md).
    """

    status: Status = "created"
    pid: int = 0
    start_ticks: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at_ns: int = 0
    finished_at_ns: int = 0
    restart_count: int = 0
    backoff_s: float = 0.0
    manually_stopped: bool = False


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container: the request as it was checked, merged with its image, and its state.

    image: as the client wrote it. runtime: name of the OCI runtime. cgroup: path below each tree's root.
    log_max_size, log_max_files: rotation where the log's options say nothing (bytes, 0: none).
    mounts: in the order in which they are made; None in a record of a
    version that knew no volumes, where host says it all.
    """

    id: str
    name: str
    created_ns: int
    image_id: str
    image: str
    config: docker.Config
    host: docker.HostConfig
    network: docker.NetworkingConfig = field(default_factory=docker.NetworkingConfig)
    runtime: str
    cgroup: str
    log_max_size: int = 0
    log_max_files: int = 0
    mounts: tuple[UserMount, ...] | None = None
    state: State = State()
