"""OCI runtime-spec 1.2: `config.json` and `state` as lean records; JSON names in snake case.

`spec.config` reads and checks them. A field that is absent, or null, has its default: `None` where absence
means something of its own, else empty or false.

Source: OCI runtime-spec v1.2, config.md and config-linux.md; schema/config-schema.json.
"""

from __future__ import annotations

from sampan.lean import record

OCI_VERSION = "1.2.0"

NAMESPACE_TYPES = ("mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time")
HOOK_NAMES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@record
class Root:
    """`root`: path is relative to the bundle unless absolute."""

    path: str
    readonly: bool = False


@record
class IdMap:
    """One line of a user namespace's map: `size` ids from `container` inside are `host` and up outside."""

    container: int
    host: int
    size: int


@record
class Mount:
    """One entry of `mounts`, made in the order of the list."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMap, ...] = ()
    gid_mappings: tuple[IdMap, ...] = ()


@record
class ConsoleSize:
    """Size of a terminal in characters."""

    height: int
    width: int


@record
class User:
    """`process.user`; username is for Windows only and not read."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


@record
class Capabilities:
    """The five sets by name, `CAP_CHOWN` and so on; names are checked by `kernel.capabilities`."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@record
class Rlimit:
    """One resource limit; type is `RLIMIT_NOFILE` and so on, 2^64-1 means none."""

    type: str
    soft: int
    hard: int


@record
class IoPriority:
    """`process.ioPriority`; class is `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`."""

    io_class: str
    priority: int = 0


@record
class Scheduler:
    """`process.scheduler`; runtime, deadline and period are nanoseconds (SCHED_DEADLINE)."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


@record
class CpuAffinity:
    """`process.execCPUAffinity`: lists of processors, `0-3,7`, before and after joining the cgroup."""

    initial: str = ""
    final: str = ""


@record
class Process:
    """`process`: the program, and what it may do. The same document is what `exec` takes."""

    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    io_priority: IoPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: CpuAffinity | None = None


@record
class Hook:
    """One program of `hooks`; path is absolute; args[0] is its name; timeout in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@record
class Hooks:
    """`hooks`, each list in order."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


@record
class Namespace:
    """One entry of `linux.namespaces`; without a path it is made, with one it is joined."""

    type: str
    path: str = ""


@record
class Device:
    """One entry of `linux.devices`, a node to make; type is c, b, u (as c) or p (a named pipe)."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@record
class LinuxDeviceCgroup:
    """One entry of `linux.resources.devices`; type a, c or b; -1 means every number; access some of `rwm`."""

    allow: bool
    type: str = "a"
    major: int = -1
    minor: int = -1
    access: str = "rwm"


@record
class Memory:
    """`linux.resources.memory`, in bytes; -1 means no limit; swap counts memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


@record
class Cpu:
    """`linux.resources.cpu`; periods, quotas and burst are microseconds; cpus and mems are lists, `0-3,7`."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


@record
class Pids:
    """`linux.resources.pids`; 0 or less means no limit."""

    limit: int


@record
class WeightDevice:
    """One entry of `blockIO.weightDevice`."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


@record
class ThrottleDevice:
    """One entry of the `blockIO.throttle…Device` lists; rate is bytes or operations a second."""

    major: int
    minor: int
    rate: int


@record
class BlockIo:
    """`linux.resources.blockIO`."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


@record
class HugepageLimit:
    """One entry of `hugepageLimits`; page_size as `2MB`, limit in bytes."""

    page_size: str
    limit: int


@record
class InterfacePriority:
    """One entry of `network.priorities`."""

    name: str
    priority: int


@record
class Network:
    """`linux.resources.network` (cgroup v1 net_cls and net_prio)."""

    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()


@record
class Rdma:
    """One device of `linux.resources.rdma`."""

    hca_handles: int | None = None
    hca_objects: int | None = None


@record
class LinuxResources:
    """`linux.resources`, and what `update` takes. Absent means: leave as it is."""

    devices: tuple[LinuxDeviceCgroup, ...] = ()
    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: Pids | None = None
    block_io: BlockIo = BlockIo()
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network = Network()
    rdma: dict[str, Rdma] = {}  # noqa: RUF012 -- records are never changed
    unified: dict[str, str] = {}  # noqa: RUF012


@record
class SeccompArg:
    """One condition on one argument of a call; value_two is used by SCMP_CMP_MASKED_EQ only."""

    index: int
    value: int
    op: str
    value_two: int = 0


@record
class SeccompRule:
    """One entry of `seccomp.syscalls`: names that get action if all args hold."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()


@record
class LinuxSeccomp:
    """`linux.seccomp`; without architectures the native one alone is meant.

    flags: None when absent, which lets the runtime choose; an empty list means none.
    """

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] | None = None
    syscalls: tuple[SeccompRule, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""


@record
class Personality:
    """`linux.personality`; domain LINUX or LINUX32; the specification knows no flags yet."""

    domain: str
    flags: tuple[str, ...] = ()


@record
class TimeOffset:
    """Shift of one clock in a new time namespace."""

    secs: int = 0
    nanosecs: int = 0


@record
class Linux:
    """`linux`, without the fields that sampan refuses."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMap, ...] = ()
    gid_mappings: tuple[IdMap, ...] = ()
    time_offsets: dict[str, TimeOffset] = {}  # noqa: RUF012
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: LinuxResources | None = None
    rootfs_propagation: str = ""
    seccomp: LinuxSeccomp | None = None
    sysctl: dict[str, str] = {}  # noqa: RUF012
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: Personality | None = None


@record
class Spec:
    """A whole `config.json`."""

    oci_version: str
    root: Root
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = Hooks()
    annotations: dict[str, str] = {}  # noqa: RUF012
    linux: Linux = Linux()


@record
class OciState:
    """The `state` document that hooks read and `state` prints."""

    oci_version: str
    id: str
    status: str
    pid: int
    bundle: str
    annotations: dict[str, str]

    def document(self) -> dict[str, object]:
        """Return the document as it goes on the wire. Source: runtime.md, "State"."""
        document: dict[str, object] = {
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": self.status,
            "pid": self.pid,
            "bundle": self.bundle,
        }
        if self.annotations:
            document["annotations"] = self.annotations
        return document
