"""OCI resources as properties of a systemd unit. Decides only; touches nothing. Lean (decision 0002).

systemd writes the files of what it knows again whenever it likes (`daemon-reload`, a change of another
property), so it must know every limit that it has a property for; the rest is in the files alone. The values
in the files come from `limits_v1` and `limits_v2`, which also refuse what is wrong: here nothing is.
Source: systemd.resource-control(5); org.freedesktop.systemd1(5); the rounding is runc's.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.cgroups.devices import ANY, Rule, fold, format_access
from sampan.kernel.cgroups.limits import MAX_UINT64
from sampan.kernel.cgroups.limits_v2 import scale_io_weight, shares_to_weight, swap_limit
from sampan.kernel.cgroups.values import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sampan.spec.runtime import BlockIo, Cpu, LinuxResources, ThrottleDevice

    Property = tuple[str, tuple[str, object]]  # name, (signature, value): `(sv)` of D-Bus

INFINITY = MAX_UINT64
_DEFAULT_PERIOD_US = 100_000
_PERCENT_US = 10_000  # systemd keeps a quota in whole percent of a processor
# The first version that has them (systemd's NEWS).
_HAS_QUOTA_PERIOD = 242
_HAS_CPUSET = 244
_HAS_IDLE = 252
_MEMORY_FILES = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_CPUSET_FILES = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def plan_properties(resources: LinuxResources, *, v2: bool, version: int) -> list[Property]:
    """Return the properties for resources but for device rules; version is systemd's."""
    plan = [*_memory(resources, v2=v2), *_cpu(resources.cpu, v2=v2, version=version)]
    if resources.pids is not None:
        limit = resources.pids.limit
        plan.append(("TasksMax", ("t", limit if limit > 0 else INFINITY)))
    plan += _block_io(resources.block_io, v2=v2)
    if v2:
        plan += _unified(resources.unified, version)
    return plan


def _size(value: int) -> tuple[str, object]:
    return "t", INFINITY if value == -1 else value


def _memory(resources: LinuxResources, *, v2: bool) -> Iterator[Property]:
    memory = resources.memory
    if memory.limit:
        yield "MemoryMax" if v2 else "MemoryLimit", _size(memory.limit)
    if not v2:
        return
    if memory.reservation:
        yield "MemoryLow", _size(memory.reservation)
    swap = swap_limit(memory)
    if swap is not None:
        yield "MemorySwapMax", _size(swap)


def _cpu(cpu: Cpu, *, v2: bool, version: int) -> Iterator[Property]:
    if v2 and cpu.idle and version >= _HAS_IDLE:
        yield "CPUWeight", ("t", 0)  # systemd's word for cpu.idle
    elif cpu.shares:
        name, value = ("CPUWeight", shares_to_weight(cpu.shares)) if v2 else ("CPUShares", cpu.shares)
        yield name, ("t", value)
    yield from _quota(cpu.quota or 0, cpu.period or 0, version)
    if version >= _HAS_CPUSET:
        for name, members in (("AllowedCPUs", cpu.cpus), ("AllowedMemoryNodes", cpu.mems)):
            if members:
                yield name, ("ay", as_mask(members))


def _quota(quota_us: int, period_us: int, version: int) -> Iterator[Property]:
    """systemd keeps the quota for a second, in whole percent: rounded up, so that the files' value fits."""
    if period_us and version >= _HAS_QUOTA_PERIOD:
        yield "CPUQuotaPeriodUSec", ("t", period_us)
    if quota_us > 0:
        per_second_us = quota_us * 1_000_000 // (period_us or _DEFAULT_PERIOD_US)
        yield "CPUQuotaPerSecUSec", ("t", -(-per_second_us // _PERCENT_US) * _PERCENT_US)
    elif quota_us or period_us:
        yield "CPUQuotaPerSecUSec", ("t", INFINITY)


def as_mask(text: str) -> list[int]:
    """Return a list as `0-3,7` as a bit mask, bit 0 of the first byte for 0.

    Raises:
        InvalidArgument: it is no list of numbers up to 8191.
    """
    try:
        numbers = listed(text)
    except ValueError as exc:
        raise InvalidArgument(f"linux.resources.cpu: {text[:80]!r} is not a list as 0-3,7") from exc
    if not numbers or max(numbers) > 8191:
        raise InvalidArgument(f"linux.resources.cpu: {text[:80]!r} is not a list of numbers up to 8191")
    mask = [0] * (max(numbers) // 8 + 1)
    for number in numbers:
        mask[number // 8] |= 1 << number % 8
    return mask


def _block_io(block_io: BlockIo, *, v2: bool) -> Iterator[Property]:
    kind = "IO" if v2 else "BlockIO"
    if block_io.weight:
        yield f"{kind}Weight", ("t", scale_io_weight(block_io.weight) if v2 else block_io.weight)
    weights = [
        (_block(each.major, each.minor), scale_io_weight(each.weight) if v2 else each.weight)
        for each in block_io.weight_device
        if each.weight
    ]
    if weights:
        yield f"{kind}DeviceWeight", ("a(st)", weights)
    for name, throttles in (
        (f"{kind}ReadBandwidth", block_io.throttle_read_bps_device),
        (f"{kind}WriteBandwidth", block_io.throttle_write_bps_device),
        ("IOReadIOPS", block_io.throttle_read_iops_device if v2 else ()),
        ("IOWriteIOPS", block_io.throttle_write_iops_device if v2 else ()),
    ):
        if throttles:
            yield f"{name}Max" if v2 else name, ("a(st)", [_rate(throttle) for throttle in throttles])


def _block(major: int, minor: int) -> str:
    return f"/dev/block/{major}:{minor}"


def _rate(throttle: ThrottleDevice) -> tuple[str, int]:
    return _block(throttle.major, throttle.minor), throttle.rate or INFINITY


def _unified(unified: dict[str, str], version: int) -> Iterator[Property]:
    """What of `unified` has a property; values the kernel would refuse are left to its refusal."""
    for file, raw_value in unified.items():
        value = raw_value.strip()
        if file in _MEMORY_FILES and (value == "max" or _is_number(value)):
            yield _MEMORY_FILES[file], ("t", INFINITY if value == "max" else int(value))
        elif file in _CPUSET_FILES and version >= _HAS_CPUSET and value:
            yield _CPUSET_FILES[file], ("ay", as_mask(value))
        elif file == "cpu.weight" and _is_number(value):
            if unified.get("cpu.idle", "").strip() != "1" or version < _HAS_IDLE:
                yield "CPUWeight", ("t", int(value))
        elif file == "cpu.idle" and value == "1" and version >= _HAS_IDLE:
            yield "CPUWeight", ("t", 0)
        elif file == "cpu.max":
            quota, _, period = value.partition(" ")
            if (quota == "max" or _is_number(quota)) and (not period or _is_number(period)):
                quota_us = -1 if quota == "max" else int(quota)
                yield from _quota(quota_us, int(period or _DEFAULT_PERIOD_US), version)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


# Devices


def plan_device_properties(rules: Sequence[Rule], proc_devices: str) -> list[Property]:
    """Return DevicePolicy and DeviceAllow for rules; proc_devices is the text of /proc/devices.

    systemd's list only allows. Where it cannot say the rules, it is told to keep out ("auto", an empty list);
    the rules hold all the same, in the cgroup's own file or program. Setting an empty list first clears it.
    """
    allowed = _allowed(rules, proc_devices)
    if allowed is None:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    return [
        ("DevicePolicy", ("s", "strict")),
        ("DeviceAllow", ("a(ss)", [])),
        ("DeviceAllow", ("a(ss)", allowed)),
    ]


def _allowed(rules: Sequence[Rule], proc_devices: str) -> list[tuple[str, str]] | None:
    try:
        default, exceptions = fold(rules)
    except Unsupported:
        return None
    if default:
        return None
    allowed = []
    for (kind, major, minor), access in exceptions.items():
        name = _device_name(kind, major, minor, proc_devices)
        if not name:
            return None
        allowed.append((name, format_access(access)))
    return allowed


def _device_name(kind: str, major: int, minor: int, proc_devices: str) -> str:
    """Return a node, or a whole driver, as DeviceAllow= takes it; "" if it takes none like it."""
    long_kind = {"b": "block", "c": "char"}[kind]
    if major == ANY:
        return f"{long_kind}-*" if minor == ANY else ""
    if minor != ANY:
        return f"/dev/{long_kind}/{major}:{minor}"
    drivers = _drivers(proc_devices, kind)
    name = drivers.get(major, "")
    only_one = list(drivers.values()).count(name) == 1 and not set("*?[\\") & set(name)
    return f"{long_kind}-{name}" if name and only_one else ""


def _drivers(proc_devices: str, kind: str) -> dict[int, str]:
    """Return the names of drivers by major number; in /proc/devices characters come before blocks."""
    characters, _, blocks = proc_devices.partition("Block devices:")
    found = {}
    for line in (blocks if kind == "b" else characters).splitlines():
        major, _, name = line.strip().partition(" ")
        if major.isdigit():
            found[int(major)] = name
    return found
