"""Resource use in the Engine API. Times in ns, sizes in bytes."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from sampan.spec.docker.common import ZERO_TIME


class PidsStats(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Processes and threads; limit 0: none."""

    current: int = 0
    limit: int = 0


class BlkioEntry(Struct, frozen=True, kw_only=True):
    """One counter of one device. op: read write sync async discard total."""

    major: int
    minor: int
    op: str
    value: int


class BlkioStats(Struct, frozen=True, kw_only=True):
    """Block I/O counters; None where the kernel keeps none (all but the first on cgroup v2)."""

    io_service_bytes_recursive: list[BlkioEntry] | None = None
    io_serviced_recursive: list[BlkioEntry] | None = None
    io_queue_recursive: list[BlkioEntry] | None = None
    io_service_time_recursive: list[BlkioEntry] | None = None
    io_wait_time_recursive: list[BlkioEntry] | None = None
    io_merged_recursive: list[BlkioEntry] | None = None
    io_time_recursive: list[BlkioEntry] | None = None
    sectors_recursive: list[BlkioEntry] | None = None


class CpuUsage(Struct, frozen=True, kw_only=True):
    """CPU time used; percpu_usage on cgroup v1 only."""

    total_usage: int = 0
    percpu_usage: list[int] | UnsetType = UNSET
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0


class ThrottlingData(Struct, frozen=True, kw_only=True):
    """How often the CPU quota stopped the container."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class CpuStats(Struct, frozen=True, kw_only=True):
    """CPU time of the container and of the machine at one moment."""

    cpu_usage: CpuUsage = field(default_factory=CpuUsage)
    system_cpu_usage: int | UnsetType = UNSET
    online_cpus: int | UnsetType = UNSET
    throttling_data: ThrottlingData = field(default_factory=ThrottlingData)


class MemoryStats(Struct, frozen=True, kw_only=True):
    """Memory; max_usage and failcnt on cgroup v1 only, stats are the kernel's own names."""

    usage: int | UnsetType = UNSET
    max_usage: int | UnsetType = UNSET
    stats: dict[str, int] | UnsetType = UNSET
    failcnt: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class InterfaceStats(Struct, frozen=True, kw_only=True):
    """Counters of one network interface."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class StorageStats(Struct, frozen=True, kw_only=True):
    """Windows only: always {}."""


class ContainerStats(Struct, frozen=True, kw_only=True):
    """One sample of GET /containers/{id}/stats; precpu_stats is the sample before."""

    name: str
    id: str
    read: str = ZERO_TIME
    preread: str = ZERO_TIME
    pids_stats: PidsStats = field(default_factory=PidsStats)
    blkio_stats: BlkioStats = field(default_factory=BlkioStats)
    num_procs: int = 0
    storage_stats: StorageStats = field(default_factory=StorageStats)
    cpu_stats: CpuStats = field(default_factory=CpuStats)
    precpu_stats: CpuStats = field(default_factory=CpuStats)
    memory_stats: MemoryStats = field(default_factory=MemoryStats)
    networks: dict[str, InterfaceStats] | UnsetType = UNSET
