"""OCI resources as files of a cgroup v2 directory. Decides only; touches nothing. Lean (decision 0002).

Source: OCI runtime-spec 1.2, config-linux.md, "Control groups"; kernel admin-guide/cgroup-v2. The document
speaks v1; how its scales become v2's is what runc and crun agreed on.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.cgroups import limits_v1 as common
from sampan.kernel.cgroups.limits import MAX_INT64, MAX_UINT64, Setting, check_range, setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.spec.runtime import BlockIo, Cpu, LinuxResources, Memory, Network

_DEFAULT_PERIOD_US = 100_000  # admin-guide/cgroup-v2, cpu.max
# Files of the core that steer processes or the tree: no limits, and dangerous to the machine's other cgroups.
_NO_LIMITS = frozenset(
    (
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
        "cgroup.type",
        "cgroup.kill",
        "cgroup.freeze",
    )
)


def plan_v2(resources: LinuxResources) -> list[Setting]:
    """Return what to write for resources, in order; `unified` comes last and so wins.

    Raises:
        InvalidArgument: a value is out of range.
        Unsupported: v2 has nothing like it.
    """
    plan: list[Setting] = []
    plan += _cpu(resources.cpu)
    plan += _memory(resources.memory)
    plan += common.pids(resources)
    plan += _io(resources.block_io)
    plan += plan_hugetlb(resources)
    plan += common.rdma(resources)
    _refuse_network(resources.network)
    plan += _unified(resources.unified)
    return plan


def shares_to_weight(shares: int) -> int:
    """Return the cpu.weight, 1 to 10000, for cpu.shares, 2 to 262144; both defaults meet: 1024 is 100.

    Source: runc 1.4 and crun 1.23 (github.com/opencontainers/runc/issues/4772): a parabola in log2(shares)
    through (2, 1), (1024, 100), (262144, 10000). The straight line used before made 1024 shares 39.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = _log2(shares)
    exponent = (log * log + 125 * log) / 612.0 - 7.0 / 34.0
    weight: float = 10.0**exponent
    return int(weight) + (weight > int(weight))


def _log2(value: int) -> float:
    """Return log2 of a positive number; `math` is not among the lean imports."""
    whole = value.bit_length() - 1
    rest = value / (1 << whole)
    fraction, step = 0.0, 0.5
    while step > 1e-17:  # one bit of the fraction a turn: squaring doubles the logarithm
        rest *= rest
        if rest >= 2.0:
            rest /= 2.0
            fraction += step
        step /= 2.0
    return whole + fraction


def _cpu(cpu: Cpu) -> Iterator[Setting]:
    if cpu.realtime_period or cpu.realtime_runtime:
        raise Unsupported("linux.resources.cpu.realtimeRuntime: cgroup v2 has no real-time limits")
    # cpu.weight of a cgroup that is idle cannot be written, so leaving idle comes first and entering it last.
    if cpu.idle is not None and check_range("cpu.idle", cpu.idle, 0, 1) == 0:
        yield setting("cpu.idle", "cpu.idle", 0, optional=True)
    if cpu.shares:
        check_range("cpu.shares", cpu.shares, 2, MAX_INT64)
        yield setting("cpu.shares", "cpu.weight", shares_to_weight(cpu.shares))
    if cpu.quota or cpu.period:
        quota = cpu.quota if cpu.quota and cpu.quota > 0 else "max"
        field = "cpu.quota" if cpu.quota else "cpu.period"
        if cpu.quota or cpu.period != _DEFAULT_PERIOD_US:
            yield setting(field, "cpu.max", f"{quota} {cpu.period or _DEFAULT_PERIOD_US}")
    if cpu.burst is not None:
        yield setting("cpu.burst", "cpu.max.burst", cpu.burst)
    if cpu.idle:
        yield setting("cpu.idle", "cpu.idle", cpu.idle)
    yield from common.cpuset(cpu)


def _bytes(value: int) -> str:
    return "max" if value == -1 else str(value)


def _memory(memory: Memory) -> Iterator[Setting]:
    common.check_memory(memory)
    if memory.kernel is not None and memory.kernel > 0:
        raise Unsupported("linux.resources.memory.kernel: cgroup v2 counts kernel memory in the one limit")
    if memory.kernel_tcp is not None and memory.kernel_tcp > 0:
        raise Unsupported("linux.resources.memory.kernelTCP: cgroup v2 counts it in the one limit")
    if memory.swappiness is not None:
        raise Unsupported("linux.resources.memory.swappiness: cgroup v2 has no swappiness of a cgroup")
    if memory.disable_oom_killer:
        raise Unsupported("linux.resources.memory.disableOOMKiller: cgroup v2 cannot switch it off")
    swap = swap_limit(memory)
    if swap is not None:
        # Without swap accounting there is no file, and asking for none or for any is met all the same.
        yield setting("memory.swap", "memory.swap.max", _bytes(swap), optional=swap in (-1, 0))
    if memory.limit:
        yield setting("memory.limit", "memory.max", _bytes(memory.limit))
    if memory.reservation:
        yield setting("memory.reservation", "memory.low", _bytes(memory.reservation))


def swap_limit(memory: Memory) -> int | None:
    """Return the limit of swap alone, -1 without one, None to leave it; the document counts memory in.

    Raises:
        InvalidArgument: swap is limited but memory is not.
    """
    limit, swap = memory.limit or 0, memory.swap or 0
    if swap == 0:
        return -1 if limit == -1 else None
    if swap == -1:
        return -1
    if limit == 0:
        raise InvalidArgument("linux.resources.memory.swap: memory and swap together need memory.limit too")
    return swap - limit


def _io(block_io: BlockIo) -> Iterator[Setting]:
    if block_io.leaf_weight or any(device.leaf_weight for device in block_io.weight_device):
        raise Unsupported("linux.resources.blockIO.leafWeight: cgroup v2 has no leaf weights")
    if block_io.weight:
        weight = common.weight_range("blockIO.weight", block_io.weight)
        yield _io_weight("blockIO.weight", "{}", weight)
    for device in block_io.weight_device:
        if device.weight:
            weight = common.weight_range("blockIO.weightDevice", device.weight)
            yield _io_weight("blockIO.weightDevice", f"{device.major}:{device.minor} {{}}", weight)
    for field, key, throttles in (
        ("throttleReadBpsDevice", "rbps", block_io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "wbps", block_io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "riops", block_io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "wiops", block_io.throttle_write_iops_device),
    ):
        for throttle in throttles:
            rate = throttle.rate or "max"  # 0 lifts the limit on v1; v2 says it with a word
            yield setting(f"blockIO.{field}", "io.max", f"{throttle.major}:{throttle.minor} {key}={rate}")


def _io_weight(field: str, form: str, weight: int) -> Setting:
    return Setting(
        controller="io",
        field=field,
        files=("io.bfq.weight", "io.weight"),
        values=(form.format(weight), form.format(scale_io_weight(weight))),  # BFQ keeps the document's scale
    )


def scale_io_weight(weight: int) -> int:
    """Return the io.weight (iocost), 1 to 10000, for a weight of 10 to 1000."""
    return 1 + (weight - 10) * 9999 // 990


def plan_hugetlb(resources: LinuxResources) -> Iterator[Setting]:
    """Yield the settings of huge pages: of v2, and of the v2 tree of a hybrid machine."""
    for page in resources.hugepage_limits:
        size = common.check_page_size(page.page_size)
        limit = check_range("hugepageLimits.limit", page.limit, 0, MAX_UINT64)
        value = "max" if limit > MAX_INT64 else limit
        yield setting("hugepageLimits", f"hugetlb.{size}.max", value)
        yield setting("hugepageLimits", f"hugetlb.{size}.rsvd.max", value, optional=True)


def _refuse_network(network: Network) -> None:
    if network.class_id or network.priorities:
        raise Unsupported(
            "linux.resources.network: cgroup v2 has no net_cls and net_prio; use nftables cgroup rules"
        )


def _unified(unified: dict[str, str]) -> Iterator[Setting]:
    for file, value in unified.items():
        if "/" in file or "\0" in file or "." not in file.strip("."):
            raise InvalidArgument(f"linux.resources.unified: {file!r} is not the name of a cgroup file")
        if file in _NO_LIMITS:
            raise InvalidArgument(f"linux.resources.unified: {file} is no limit")
        # The kernel takes one line a write, as for io.max of several devices.
        for line in value.strip("\n").split("\n"):
            yield setting(f"unified.{file}", file, line)
