"""The engine itself in the Engine API: events, version, info, disk usage."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from sampan.spec.docker.common import StrList, StrMap
from sampan.spec.docker.containers import ContainerSummary
from sampan.spec.docker.images import ImageSummary
from sampan.spec.docker.networks import Volume


class Actor(Struct, frozen=True, kw_only=True):
    """The object of an event; Attributes hold its labels and what the action adds."""

    ID: str
    Attributes: StrMap = field(default_factory=dict)


class Event(Struct, frozen=True, kw_only=True):
    """One line of GET /events. `status`, `id` and `from` are sent to clients below 1.52."""

    status: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    from_: str | UnsetType = field(default=UNSET, name="from")
    Type: str
    Action: str
    Actor: Actor
    scope: str = "local"
    time: int  # unix seconds
    timeNano: int


class VersionPlatform(Struct, frozen=True, kw_only=True):
    """The name of the product."""

    Name: str


class Component(Struct, frozen=True, kw_only=True):
    """One program of the engine; `docker version` prints the one named Engine from its Details."""

    Name: str
    Version: str
    Details: StrMap = field(default_factory=dict)


class Version(Struct, frozen=True, kw_only=True):
    """Answer to GET /version."""

    Platform: VersionPlatform
    Components: list[Component]
    Version: str
    ApiVersion: str
    MinAPIVersion: str
    GitCommit: str
    GoVersion: str
    Os: str
    Arch: str
    KernelVersion: str
    Experimental: bool = False
    BuildTime: str = ""


class PluginsInfo(Struct, frozen=True, kw_only=True):
    """Names of the drivers, by kind."""

    Volume: StrList = field(default_factory=list)
    Network: StrList = field(default_factory=list)
    Authorization: StrList | None = None
    Log: StrList = field(default_factory=list)


class IndexInfo(Struct, frozen=True, kw_only=True):
    """One registry."""

    Name: str
    Mirrors: StrList = field(default_factory=list)
    Secure: bool = True
    Official: bool = False


class RegistryConfig(Struct, frozen=True, kw_only=True):
    """How registries are spoken to."""

    InsecureRegistryCIDRs: StrList = field(default_factory=list)
    IndexConfigs: dict[str, IndexInfo] = field(default_factory=dict)
    Mirrors: StrList = field(default_factory=list)


class RuntimeInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A runtime that containers can be started with."""

    path: str
    runtimeArgs: StrList = field(default_factory=list)
    status: StrMap = field(default_factory=dict)


class SwarmInfo(Struct, frozen=True, kw_only=True):
    """There is no swarm mode: always inactive."""

    NodeID: str = ""
    NodeAddr: str = ""
    LocalNodeState: str = "inactive"
    ControlAvailable: bool = False
    Error: str = ""
    RemoteManagers: None = None


class Commit(Struct, frozen=True, kw_only=True):
    """The version of a program by its source."""

    ID: str = ""


class AddressPool(Struct, frozen=True, kw_only=True):
    """A range that networks take their subnets from, and the prefix length of one."""

    Base: str
    Size: int


class Info(Struct, frozen=True, kw_only=True):
    """Answer to GET /info."""

    ID: str
    Containers: int
    ContainersRunning: int
    ContainersPaused: int
    ContainersStopped: int
    Images: int
    Driver: str = "overlay2"
    DriverStatus: list[StrList] = field(default_factory=list)
    DockerRootDir: str
    Plugins: PluginsInfo
    MemoryLimit: bool
    SwapLimit: bool
    CpuCfsPeriod: bool
    CpuCfsQuota: bool
    CPUShares: bool
    CPUSet: bool
    PidsLimit: bool
    OomKillDisable: bool = False
    IPv4Forwarding: bool = True
    Debug: bool = False
    NFd: int = 0
    NGoroutines: int = 0  # threads
    SystemTime: str
    LoggingDriver: str = "json-file"
    CgroupDriver: str = "cgroupfs"
    CgroupVersion: str = "1"
    NEventsListener: int = 0
    KernelVersion: str
    OperatingSystem: str
    OSVersion: str = ""
    OSType: str = "linux"
    Architecture: str
    NCPU: int
    MemTotal: int
    IndexServerAddress: str = "https://index.docker.io/v1/"
    RegistryConfig: RegistryConfig = field(default_factory=RegistryConfig)
    GenericResources: None = None
    HttpProxy: str = ""
    HttpsProxy: str = ""
    NoProxy: str = ""
    Name: str
    Labels: StrList = field(default_factory=list)
    ExperimentalBuild: bool = False
    ServerVersion: str
    Runtimes: dict[str, RuntimeInfo] = field(default_factory=dict)
    DefaultRuntime: str = ""
    Swarm: SwarmInfo = field(default_factory=SwarmInfo)
    LiveRestoreEnabled: bool = True
    Isolation: str = ""
    InitBinary: str = ""
    ContainerdCommit: Commit = field(default_factory=Commit)
    RuncCommit: Commit = field(default_factory=Commit)
    InitCommit: Commit = field(default_factory=Commit)
    SecurityOptions: StrList = field(default_factory=list)
    DefaultAddressPools: list[AddressPool] | UnsetType = UNSET
    CDISpecDirs: StrList = field(default_factory=list)
    Warnings: StrList = field(default_factory=list)


class BuildCache(Struct, frozen=True, kw_only=True):
    """One record of the build cache."""

    ID: str
    Parents: StrList | None = None
    Type: str
    Description: str
    InUse: bool
    Shared: bool
    Size: int
    CreatedAt: str
    LastUsedAt: str | None = None
    UsageCount: int = 0


class DiskUsage(Struct, frozen=True, kw_only=True):
    """Answer to GET /system/df: a list not asked for is left out, one asked for is []."""

    LayersSize: int | UnsetType = UNSET
    Images: list[ImageSummary] | UnsetType = UNSET
    Containers: list[ContainerSummary] | UnsetType = UNSET
    Volumes: list[Volume] | UnsetType = UNSET
    BuildCache: list[BuildCache] | UnsetType = UNSET
