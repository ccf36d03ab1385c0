"""Containers in the Engine API: what is asked for, then what is reported."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from sampan.spec.docker.common import ZERO_TIME, Empty, StrList, StrMap, Words


class HealthConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to test that the container works. Durations in ns, 0: inherit; Test []: inherit, ["NONE"]: off.

    OnFailure is sampan's own: none kill restart stop, "": inherit.
    """

    Test: StrList = field(default_factory=list)
    Interval: int = 0
    Timeout: int = 0
    Retries: int = 0
    StartPeriod: int = 0
    StartInterval: int = 0
    OnFailure: str = ""


class Config(Struct, frozen=True, kw_only=True):
    """The part of a container's configuration that does not depend on the host."""

    Hostname: str = ""
    Domainname: str = ""
    User: str = ""
    AttachStdin: bool = False
    AttachStdout: bool = False
    AttachStderr: bool = False
    ExposedPorts: dict[str, Empty] = field(default_factory=dict)  # "80/tcp" → {}
    Tty: bool = False
    OpenStdin: bool = False
    StdinOnce: bool = False
    Env: StrList = field(default_factory=list)  # KEY=value; KEY alone removes the image's
    Cmd: Words = None
    Healthcheck: HealthConfig | None = None
    ArgsEscaped: bool = False
    Image: str = ""
    Volumes: dict[str, Empty] = field(default_factory=dict)  # path → {}
    WorkingDir: str = ""
    Entrypoint: Words = None  # None: the image's; [] or [""]: none
    NetworkDisabled: bool = False
    MacAddress: str = ""
    OnBuild: StrList | None = None
    Labels: StrMap = field(default_factory=dict)
    StopSignal: str = ""
    StopTimeout: int | None = None  # seconds
    Shell: Words = None


class WeightDevice(Struct, frozen=True, kw_only=True):
    """Relative block I/O weight of one device."""

    Path: str
    Weight: int = 0


class ThrottleDevice(Struct, frozen=True, kw_only=True):
    """Bytes or operations a second on one device."""

    Path: str
    Rate: int = 0


class DeviceMapping(Struct, frozen=True, kw_only=True):
    """A device of the host in the container; CgroupPermissions of the letters rwm."""

    PathOnHost: str
    PathInContainer: str = ""
    CgroupPermissions: str = ""


class DeviceRequest(Struct, frozen=True, kw_only=True):
    """Devices asked for by capability, such as GPUs. Count -1: all."""

    Driver: str = ""
    Count: int = 0
    DeviceIDs: StrList = field(default_factory=list)
    Capabilities: list[StrList] = field(default_factory=list)
    Options: StrMap = field(default_factory=dict)


class Ulimit(Struct, frozen=True, kw_only=True):
    """One resource limit; -1: no limit."""

    Name: str
    Soft: int = 0
    Hard: int = 0


class Resources(Struct, frozen=True, kw_only=True):
    """Limits. 0, "" and None mean not set; sizes in bytes, CpuPeriod and CpuQuota in µs."""

    CpuShares: int = 0
    Memory: int = 0
    NanoCpus: int = 0  # 1e9 is one CPU
    CgroupParent: str = ""
    BlkioWeight: int = 0
    BlkioWeightDevice: list[WeightDevice] = field(default_factory=list)
    BlkioDeviceReadBps: list[ThrottleDevice] = field(default_factory=list)
    BlkioDeviceWriteBps: list[ThrottleDevice] = field(default_factory=list)
    BlkioDeviceReadIOps: list[ThrottleDevice] = field(default_factory=list)
    BlkioDeviceWriteIOps: list[ThrottleDevice] = field(default_factory=list)
    CpuPeriod: int = 0
    CpuQuota: int = 0
    CpuRealtimePeriod: int = 0
    CpuRealtimeRuntime: int = 0
    CpusetCpus: str = ""
    CpusetMems: str = ""
    Devices: list[DeviceMapping] = field(default_factory=list)
    DeviceCgroupRules: StrList = field(default_factory=list)
    DeviceRequests: list[DeviceRequest] = field(default_factory=list)
    KernelMemoryTCP: int = 0
    MemoryReservation: int = 0
    MemorySwap: int = 0  # memory plus swap; -1: no limit
    MemorySwappiness: int | None = None  # -1: not set
    OomKillDisable: bool | None = None
    Init: bool | None = None
    PidsLimit: int | None = None  # 0 and below: no limit
    Ulimits: list[Ulimit] = field(default_factory=list)
    CpuCount: int = 0  # Windows
    CpuPercent: int = 0  # Windows
    IOMaximumIOps: int = 0  # Windows
    IOMaximumBandwidth: int = 0  # Windows


class LogConfig(Struct, frozen=True, kw_only=True):
    """Where the output goes; Type "": the daemon's default."""

    Type: str = ""
    Config: StrMap = field(default_factory=dict)


class PortBinding(Struct, frozen=True, kw_only=True):
    """One address of the host; HostPort is text, "" for any free one."""

    HostIp: str = ""
    HostPort: str = ""


class RestartPolicy(Struct, frozen=True, kw_only=True):
    """Name: "" no always unless-stopped on-failure."""

    Name: str = ""
    MaximumRetryCount: int = 0


class BindOptions(Struct, frozen=True, kw_only=True):
    """Options of a bind mount."""

    Propagation: str = ""  # private rprivate shared rshared slave rslave
    NonRecursive: bool = False
    CreateMountpoint: bool = False
    ReadOnlyNonRecursive: bool = False
    ReadOnlyForceRecursive: bool = False


class VolumeDriverConfig(Struct, frozen=True, kw_only=True):
    """Driver of a volume made with the container."""

    Name: str = ""
    Options: StrMap = field(default_factory=dict)


class VolumeOptions(Struct, frozen=True, kw_only=True):
    """Options of a volume mount."""

    NoCopy: bool = False
    Labels: StrMap = field(default_factory=dict)
    DriverConfig: VolumeDriverConfig | None = None
    Subpath: str = ""


class ImageOptions(Struct, frozen=True, kw_only=True):
    """Options of an image mount."""

    Subpath: str = ""


class TmpfsOptions(Struct, frozen=True, kw_only=True):
    """Options of a tmpfs mount; Mode as an integer (0o1777 is 1023)."""

    SizeBytes: int = 0
    Mode: int = 0
    Options: list[StrList] = field(default_factory=list)  # [["uid", "5"], ["noexec"]]


class Mount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mount asked for with `--mount`. Type: bind volume tmpfs image npipe cluster."""

    Target: str = ""
    Source: str = ""
    Type: str = ""
    ReadOnly: bool = False
    Consistency: str = ""
    BindOptions: BindOptions | None = None
    VolumeOptions: VolumeOptions | None = None
    ImageOptions: ImageOptions | None = None
    TmpfsOptions: TmpfsOptions | None = None


class HostConfig(Resources, frozen=True, kw_only=True):
    """The part of a container's configuration that depends on the host."""

    Binds: StrList = field(default_factory=list)  # source:target[:options]
    ContainerIDFile: str = ""
    LogConfig: LogConfig = field(default_factory=LogConfig)
    NetworkMode: str = ""
    PortBindings: dict[str, list[PortBinding]] = field(default_factory=dict)  # by "80/tcp"; []: any port
    RestartPolicy: RestartPolicy = field(default_factory=RestartPolicy)
    AutoRemove: bool = False
    VolumeDriver: str = ""
    VolumesFrom: StrList = field(default_factory=list)
    Mounts: list[Mount] = field(default_factory=list)
    ConsoleSize: list[int] = field(default_factory=lambda: [0, 0])  # height, width
    Annotations: StrMap = field(default_factory=dict)
    CapAdd: Words = None
    CapDrop: Words = None
    CgroupnsMode: str = ""  # "" private host
    Dns: StrList = field(default_factory=list)
    DnsOptions: StrList = field(default_factory=list)
    DnsSearch: StrList = field(default_factory=list)
    ExtraHosts: StrList = field(default_factory=list)  # name:address
    GroupAdd: StrList = field(default_factory=list)
    IpcMode: str = ""
    Cgroup: str = ""
    Links: StrList = field(default_factory=list)
    OomScoreAdj: int = 0
    PidMode: str = ""
    Privileged: bool = False
    PublishAllPorts: bool = False
    ReadonlyRootfs: bool = False
    SecurityOpt: StrList = field(default_factory=list)
    StorageOpt: StrMap = field(default_factory=dict)
    Tmpfs: StrMap = field(default_factory=dict)  # path → options
    UTSMode: str = ""
    UsernsMode: str = ""
    ShmSize: int = 0
    Sysctls: StrMap = field(default_factory=dict)
    Runtime: str = ""
    Isolation: str = ""  # Windows
    MaskedPaths: StrList | None = None  # None: the default list; []: none
    ReadonlyPaths: StrList | None = None  # as MaskedPaths


class EndpointIPAMConfig(Struct, frozen=True, kw_only=True):
    """Addresses wished for in one network."""

    IPv4Address: str = ""
    IPv6Address: str = ""
    LinkLocalIPs: StrList = field(default_factory=list)


class EndpointSettings(Struct, frozen=True, kw_only=True):
    """A container's place in one network: wishes in a request, facts in a response."""

    IPAMConfig: EndpointIPAMConfig | None = None
    Links: StrList | None = None
    Aliases: StrList | None = None
    MacAddress: str = ""
    DriverOpts: StrMap | None = None
    GwPriority: int = 0
    NetworkID: str = ""
    EndpointID: str = ""
    Gateway: str = ""
    IPAddress: str = ""
    IPPrefixLen: int = 0
    IPv6Gateway: str = ""
    GlobalIPv6Address: str = ""
    GlobalIPv6PrefixLen: int = 0
    DNSNames: StrList | None = None


class NetworkingConfig(Struct, frozen=True, kw_only=True):
    """The networks to join, by name."""

    EndpointsConfig: dict[str, EndpointSettings] = field(default_factory=dict)


class ContainerCreate(Config, frozen=True, kw_only=True):
    """Body of POST /containers/create: the fields of Config at top level, and the two other parts."""

    HostConfig: HostConfig = field(default_factory=HostConfig)
    NetworkingConfig: NetworkingConfig = field(default_factory=NetworkingConfig)

    def config(self) -> Config:
        """Return the fields that belong to Config, as a Config."""
        return Config(**{name: getattr(self, name) for name in Config.__struct_fields__})


class CreateResponse(Struct, frozen=True, kw_only=True):
    """Answer to POST /containers/create."""

    Id: str
    Warnings: StrList = field(default_factory=list)


class ContainerUpdate(Resources, frozen=True, kw_only=True):
    """Body of POST /containers/{id}/update: zero, "" and None leave a value as it is.

    Healthcheck, PublishAdd and PublishRemove are sampan's own. A port of the latter without a binding means
    all of its bindings; "" in a binding means any.
    """

    RestartPolicy: RestartPolicy | None = None
    Healthcheck: HealthConfig | None = None
    PublishAdd: dict[str, list[PortBinding] | None] | None = None
    PublishRemove: dict[str, list[PortBinding] | None] | None = None


class UpdateResponse(Struct, frozen=True, kw_only=True):
    """Answer to POST /containers/{id}/update."""

    Warnings: StrList = field(default_factory=list)


class HealthcheckResult(Struct, frozen=True, kw_only=True):
    """One run of the health check."""

    Start: str
    End: str
    ExitCode: int
    Output: str


class Health(Struct, frozen=True, kw_only=True):
    """Status: none starting healthy unhealthy."""

    Status: str
    FailingStreak: int = 0
    Log: list[HealthcheckResult] = field(default_factory=list)


class State(Struct, frozen=True, kw_only=True):
    """Status: created running paused restarting removing exited dead."""

    Status: str
    Running: bool = False
    Paused: bool = False
    Restarting: bool = False
    OOMKilled: bool = False
    Dead: bool = False
    Pid: int = 0
    ExitCode: int = 0
    Error: str = ""
    StartedAt: str = ZERO_TIME
    FinishedAt: str = ZERO_TIME
    Health: Health | UnsetType = UNSET


class MountPoint(Struct, frozen=True, kw_only=True):
    """A mount that a container has, apart from those every container has."""

    Type: str
    Name: str | UnsetType = UNSET
    Source: str = ""
    Destination: str
    Driver: str | UnsetType = UNSET
    Mode: str = ""
    RW: bool = True
    Propagation: str = ""


class GraphDriver(Struct, frozen=True, kw_only=True):
    """Where the root file system lies. Data of overlay2: LowerDir MergedDir UpperDir WorkDir."""

    Name: str
    Data: StrMap | None = None


class NetworkSettings(Struct, frozen=True, kw_only=True):
    """Network of a container; the single addresses are those in the default bridge network."""

    Bridge: str = ""
    SandboxID: str = ""
    SandboxKey: str = ""
    Ports: dict[str, list[PortBinding] | None] = field(default_factory=dict)  # None: exposed only
    HairpinMode: bool = False
    LinkLocalIPv6Address: str = ""
    LinkLocalIPv6PrefixLen: int = 0
    SecondaryIPAddresses: None = None
    SecondaryIPv6Addresses: None = None
    EndpointID: str = ""
    Gateway: str = ""
    GlobalIPv6Address: str = ""
    GlobalIPv6PrefixLen: int = 0
    IPAddress: str = ""
    IPPrefixLen: int = 0
    IPv6Gateway: str = ""
    MacAddress: str = ""
    Networks: dict[str, EndpointSettings] = field(default_factory=dict)


class ContainerInspect(Struct, frozen=True, kw_only=True):
    """Answer to GET /containers/{id}/json. Name begins with a slash; Image is `sha256:…`."""

    Id: str
    Created: str
    Path: str
    Args: StrList
    State: State
    Image: str
    ResolvConfPath: str = ""
    HostnamePath: str = ""
    HostsPath: str = ""
    LogPath: str = ""
    Name: str
    RestartCount: int = 0
    Driver: str = "overlay2"
    Platform: str = "linux"
    MountLabel: str = ""
    ProcessLabel: str = ""
    AppArmorProfile: str = ""
    ExecIDs: StrList | None = None
    HostConfig: HostConfig
    GraphDriver: GraphDriver
    SizeRw: int | UnsetType = UNSET
    SizeRootFs: int | UnsetType = UNSET
    Mounts: list[MountPoint] = field(default_factory=list)
    Config: Config
    NetworkSettings: NetworkSettings


class Port(Struct, frozen=True, kw_only=True):
    """One port in a list; IP and PublicPort only when published. Type: tcp udp sctp."""

    IP: str | UnsetType = UNSET
    PrivatePort: int
    PublicPort: int | UnsetType = UNSET
    Type: str


class SummaryHostConfig(Struct, frozen=True, kw_only=True):
    """What a list shows of HostConfig."""

    NetworkMode: str
    Annotations: StrMap | UnsetType = UNSET


class SummaryNetworkSettings(Struct, frozen=True, kw_only=True):
    """What a list shows of NetworkSettings."""

    Networks: dict[str, EndpointSettings] = field(default_factory=dict)


class ContainerSummary(Struct, frozen=True, kw_only=True):
    """One entry of GET /containers/json. Created in unix seconds; Names begin with a slash.

    Zombies is sampan's own, for who asks: how many the first process has not reaped.
    """

    Id: str
    Names: StrList
    Image: str
    ImageID: str
    Command: str
    Created: int
    Ports: list[Port] = field(default_factory=list)
    SizeRw: int | UnsetType = UNSET
    SizeRootFs: int | UnsetType = UNSET
    Labels: StrMap = field(default_factory=dict)
    State: str
    Status: str
    HostConfig: SummaryHostConfig
    NetworkSettings: SummaryNetworkSettings = field(default_factory=SummaryNetworkSettings)
    Mounts: list[MountPoint] = field(default_factory=list)
    Zombies: int | UnsetType = UNSET


class ContainerTop(Struct, frozen=True, kw_only=True):
    """Answer to GET /containers/{id}/top: one row for each process, as `ps` prints it."""

    Titles: StrList
    Processes: list[StrList]


class FilesystemChange(Struct, frozen=True, kw_only=True):
    """One entry of GET /containers/{id}/changes. Kind: 0 changed, 1 added, 2 deleted."""

    Path: str
    Kind: int


class WaitError(Struct, frozen=True, kw_only=True):
    """Why a wait could not tell an exit code."""

    Message: str


class WaitResponse(Struct, frozen=True, kw_only=True):
    """Answer to POST /containers/{id}/wait."""

    StatusCode: int
    Error: WaitError | UnsetType = UNSET


class ContainersPrune(Struct, frozen=True, kw_only=True):
    """Answer to POST /containers/prune."""

    ContainersDeleted: StrList = field(default_factory=list)
    SpaceReclaimed: int = 0
