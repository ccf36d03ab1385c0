"""OCI resources as files of cgroup v1 controllers. Decides only; touches nothing. Lean (decision 0002).

Source: OCI runtime-spec 1.2, config-linux.md, "Control groups"; kernel admin-guide/cgroup-v1. A limit of 0
means "not set" where the older JSON of runc cannot tell the two apart (memory, cpu, pids, weights).
"""

from __future__ import annotations

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.cgroups.limits import MAX_INT64, MAX_UINT64, Setting, check_range, setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.spec.runtime import BlockIo, Cpu, LinuxResources, Memory, Network

_PAGE_UNITS = ("KB", "MB", "GB")


def plan_v1(resources: LinuxResources) -> list[Setting]:
    """Return what to write for resources, in order.

    Raises:
        InvalidArgument: a value is out of range.
        Unsupported: `unified` is given.
    """
    plan: list[Setting] = []
    plan += _cpu(resources.cpu)
    plan += _memory(resources.memory)
    plan += pids(resources)
    plan += _blkio(resources.block_io)
    plan += _hugetlb(resources)
    plan += rdma(resources)
    plan += _network(resources.network)
    if resources.unified:
        raise Unsupported("linux.resources.unified: this machine has cgroup v1, which has no unified files")
    return plan


def _cpu(cpu: Cpu) -> Iterator[Setting]:
    # cpu.shares of a cgroup that is idle cannot be written, so leaving idle comes first and entering it last.
    if cpu.idle is not None and check_range("cpu.idle", cpu.idle, 0, 1) == 0:
        yield setting("cpu.idle", "cpu.idle", 0, optional=True)
    if cpu.shares:
        yield setting("cpu.shares", "cpu.shares", check_range("cpu.shares", cpu.shares, 2, MAX_INT64))
    # A period longer than the old quota's share allows, or shorter, is refused until the quota is written.
    if cpu.period:
        yield setting("cpu.period", "cpu.cfs_period_us", cpu.period, again=True)
    if cpu.quota:
        yield setting("cpu.quota", "cpu.cfs_quota_us", cpu.quota, again=True)
    if cpu.burst is not None:
        yield setting("cpu.burst", "cpu.cfs_burst_us", cpu.burst)
    if cpu.realtime_period:
        yield setting("cpu.realtimePeriod", "cpu.rt_period_us", cpu.realtime_period, again=True)
    if cpu.realtime_runtime:
        yield setting("cpu.realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime)
    if cpu.idle:
        yield setting("cpu.idle", "cpu.idle", cpu.idle)
    yield from cpuset(cpu)


def cpuset(cpu: Cpu) -> Iterator[Setting]:
    """Yield the settings of cpus and mems: the same files on v1 and v2."""
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if value:
            yield setting(f"cpu.{name}", f"cpuset.{name}", _check_list(f"cpu.{name}", value))


def _check_list(field: str, value: str) -> str:
    """Check the form of a list as `0-3,7`; which processors there are is the kernel's business."""
    if len(value) > 4000 or value.strip("0123456789,-"):
        raise InvalidArgument(f"linux.resources.{field}: {value[:80]!r} is not a list as 0-3,7")
    return value


def check_memory(memory: Memory) -> None:
    """Check what does not depend on the machine.

    Raises:
        InvalidArgument: a value is out of range, or memory and swap together are less than memory.
    """
    for field in ("limit", "reservation", "swap", "kernel", "kernel_tcp"):
        value = getattr(memory, field)
        if value is not None:
            check_range(f"memory.{'kernelTCP' if field == 'kernel_tcp' else field}", value, -1, MAX_INT64)
    limit, swap = memory.limit or 0, memory.swap or 0
    if swap > 0 and limit == -1:
        raise InvalidArgument(f"linux.resources.memory.swap: {swap} with unlimited memory cannot be set")
    if 0 < swap < limit:
        raise InvalidArgument(
            f"linux.resources.memory.swap: {swap} is memory and swap together and cannot be less than "
            f"linux.resources.memory.limit {limit}"
        )


def _memory(memory: Memory) -> Iterator[Setting]:
    check_memory(memory)
    if memory.use_hierarchy is not None:
        value = int(memory.use_hierarchy)
        yield setting("memory.useHierarchy", "memory.use_hierarchy", value, optional=memory.use_hierarchy)
    # memsw may never be below the limit: raising both, the first write fails and comes after the second.
    if memory.limit:
        yield setting("memory.limit", "memory.limit_in_bytes", memory.limit, again=True)
    if memory.swap:
        yield setting("memory.swap", "memory.memsw.limit_in_bytes", memory.swap, again=True)
    elif memory.limit == -1:
        yield setting("memory.swap", "memory.memsw.limit_in_bytes", -1, optional=True)
    if memory.reservation:
        yield setting("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation)
    if memory.kernel is not None and memory.kernel > 0:
        yield setting("memory.kernel", "memory.kmem.limit_in_bytes", memory.kernel)
    if memory.kernel_tcp is not None and memory.kernel_tcp != 0:
        yield setting("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.swappiness is not None:
        value = check_range("memory.swappiness", memory.swappiness, 0, 100)
        yield setting("memory.swappiness", "memory.swappiness", value)
    if memory.disable_oom_killer is not None:
        yield setting("memory.disableOOMKiller", "memory.oom_control", int(memory.disable_oom_killer))


def pids(resources: LinuxResources) -> Iterator[Setting]:
    """Yield the setting of the process limit: the same file on v1 and v2; 0 and less lift it."""
    if resources.pids is not None:
        limit = check_range("pids.limit", resources.pids.limit, -1, MAX_INT64)
        yield setting("pids.limit", "pids.max", limit if limit > 0 else "max", optional=limit <= 0)


def weight_range(field: str, weight: int) -> int:
    """Return a block I/O weight that is within 10 to 1000."""
    return check_range(field, weight, 10, 1000)


def _blkio(block_io: BlockIo) -> Iterator[Setting]:
    if block_io.weight:
        yield _weight("blockIO.weight", "weight", str(weight_range("blockIO.weight", block_io.weight)))
    if block_io.leaf_weight:
        value = weight_range("blockIO.leafWeight", block_io.leaf_weight)
        yield setting("blockIO.leafWeight", "blkio.leaf_weight", value)
    for device in block_io.weight_device:
        node = f"{device.major}:{device.minor}"
        if device.weight:
            value = weight_range("blockIO.weightDevice", device.weight)
            yield _weight("blockIO.weightDevice", "weight_device", f"{node} {value}")
        if device.leaf_weight:
            value = weight_range("blockIO.weightDevice", device.leaf_weight)
            yield setting("blockIO.weightDevice", "blkio.leaf_weight_device", f"{node} {value}")
    for field, file, throttles in (
        ("throttleReadBpsDevice", "read_bps_device", block_io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "write_bps_device", block_io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "read_iops_device", block_io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "write_iops_device", block_io.throttle_write_iops_device),
    ):
        for throttle in throttles:
            value_text = f"{throttle.major}:{throttle.minor} {throttle.rate}"
            yield setting(f"blockIO.{field}", f"blkio.throttle.{file}", value_text)


def _weight(field: str, file: str, value: str) -> Setting:
    # The CFQ files went with Linux 5.0; BFQ has its own name for the same scale.
    files = (f"blkio.{file}", f"blkio.bfq.{file}")
    return Setting(controller="blkio", field=field, files=files, values=(value,))


def check_page_size(raw_size: str) -> str:
    """Return a huge page size, as 2MB, that is safe in a file name."""
    number, unit = raw_size[:-2], raw_size[-2:]
    if unit not in _PAGE_UNITS or not number.isascii() or not number.isdigit() or number[0] == "0":
        raise InvalidArgument(
            f"linux.resources.hugepageLimits: page size {raw_size!r} is not as 64KB, 2MB, 1GB"
        )
    return raw_size


def _hugetlb(resources: LinuxResources) -> Iterator[Setting]:
    for page in resources.hugepage_limits:
        size = check_page_size(page.page_size)
        limit = check_range("hugepageLimits.limit", page.limit, 0, MAX_UINT64)
        yield setting("hugepageLimits", f"hugetlb.{size}.limit_in_bytes", limit)
        yield setting("hugepageLimits", f"hugetlb.{size}.rsvd.limit_in_bytes", limit, optional=True)


def rdma(resources: LinuxResources) -> Iterator[Setting]:
    """Yield the settings of RDMA devices: the same file on v1 and v2."""
    for device, limits in resources.rdma.items():
        if not device or " " in device or "\n" in device:
            raise InvalidArgument(f"linux.resources.rdma: {device!r} is not a device name")
        handles = "max" if limits.hca_handles is None else limits.hca_handles
        objects = "max" if limits.hca_objects is None else limits.hca_objects
        yield setting("rdma", "rdma.max", f"{device} hca_handle={handles} hca_object={objects}")


def _network(network: Network) -> Iterator[Setting]:
    if network.class_id:
        yield setting("network.classID", "net_cls.classid", network.class_id)
    for priority in network.priorities:
        if not priority.name or " " in priority.name or "\n" in priority.name:
            raise InvalidArgument(
                f"linux.resources.network.priorities: {priority.name!r} is no interface name"
            )
        yield setting("network.priorities", "net_prio.ifpriomap", f"{priority.name} {priority.priority}")
