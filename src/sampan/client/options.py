"""What a container is made with, as a value: common fields typed, all others by their names in the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.fastjson import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """Options of a new container. An empty value leaves the choice to the image or the daemon.

    network: `none`, `host`, or a network's name. binds: `source:target[:ro]`. host_config and config: further
    fields of the Engine API's `HostConfig` and of the request itself; they win over the typed ones.
    """

    name: str = ""
    platform: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    entrypoint: Sequence[str] | None = None
    tty: bool = False
    open_stdin: bool = False
    network: str = ""
    binds: Sequence[str] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    cpus: float = 0
    pids_limit: int = 0
    read_only: bool = False
    privileged: bool = False
    init: bool | None = None
    cap_add: Sequence[str] = ()
    cap_drop: Sequence[str] = ()
    auto_remove: bool = False
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    host_config: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_body(self, image: str, command: Sequence[str]) -> dict[str, JsonValue]:
        """Return the body of a create request."""
        host: dict[str, JsonValue] = {
            "NetworkMode": self.network,
            "Binds": list(self.binds),
            "Tmpfs": dict(self.tmpfs),
            "Memory": self.memory_bytes,
            "NanoCpus": round(self.cpus * 1_000_000_000),
            "PidsLimit": self.pids_limit,
            "ReadonlyRootfs": self.read_only,
            "Privileged": self.privileged,
            "Init": self.init,
            "CapAdd": list(self.cap_add),
            "CapDrop": list(self.cap_drop),
            "AutoRemove": self.auto_remove,
        }
        body: dict[str, JsonValue] = {
            "Image": image,
            "Cmd": list(command),
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "Labels": dict(self.labels),
            "User": self.user,
            "WorkingDir": self.working_dir,
            "Hostname": self.hostname,
            "Entrypoint": None if self.entrypoint is None else list(self.entrypoint),
            "Tty": self.tty,
            "OpenStdin": self.open_stdin,
            "StdinOnce": self.open_stdin,
        }
        kept = {key: value for key, value in host.items() if value not in (None, "", 0, [], {})}
        sent = {key: value for key, value in body.items() if value not in (None, "", [], {})}
        return {**sent, **self.config, "HostConfig": {**kept, **self.host_config}}
