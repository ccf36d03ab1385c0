"""`linux.resources`: limits, checked against bounds and against what this machine's cgroups can do.

Bounds and texts are those of dockerd's verifyPlatformContainerResources (moby daemon/daemon_unix.go), which
scripts match.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from sampan.engine.bundle.plan import Document, Warn
from sampan.engine.machine import Machine, parse_cpu_set
from sampan.errors import InvalidArgument, Unsupported
from sampan.spec import docker

_MIB: Final = 1024 * 1024
_MIN_MEMORY: Final = 6 * _MIB
_PERIOD_US: Final = 100_000  # the kernel's default (Documentation/scheduler/sched-bwc.rst)


def make_resources(host: docker.Resources, machine: Machine, *, pids_limit: int, warn: Warn) -> Document:
    """Return the limits of config.json without the device rules.

    Differs: pids_limit holds unless the client asks for another or, by -1, for none. 0 is what the docker
    CLI sends when nobody asked.

    Raises:
        InvalidArgument: a value is out of bounds.
        Unsupported: the machine has no controller for a limit that matters.
    """
    result: Document = {
        "memory": _memory(host, machine, warn),
        "cpu": _cpu(host, machine),
        "blockIO": _block_io(host, machine, warn),
    }
    limit = host.PidsLimit or pids_limit
    if limit > 0:
        result["pids"] = {"limit": limit}
    return {key: value for key, value in result.items() if value}


def _need(machine: Machine, controller: str, field: str) -> None:
    v2_name = {"blkio": "io"}.get(controller, controller)
    if controller not in machine.controllers and v2_name not in machine.controllers:
        raise Unsupported(f"cannot honour {field}: this machine has no cgroup controller {controller!r}")


def _memory(host: docker.Resources, machine: Machine, warn: Warn) -> Document:
    _check_memory(host)
    result: Document = {}
    if host.Memory or host.MemoryReservation or host.KernelMemoryTCP:
        _need(machine, "memory", "Memory")
    if host.Memory:
        result["limit"] = host.Memory
    if host.MemoryReservation:
        result["reservation"] = host.MemoryReservation
    if host.Memory or host.MemorySwap:
        if machine.swap_limit:
            result["swap"] = host.MemorySwap or 2 * host.Memory
        else:
            warn("the kernel cannot limit swap: the memory limit holds without it")
    if host.KernelMemoryTCP:
        if machine.cgroup_version == 2:
            raise Unsupported("cannot honour KernelMemoryTCP: cgroup v2 has no such limit")
        result["kernelTCP"] = host.KernelMemoryTCP
    if host.MemorySwappiness not in (None, -1):
        if machine.swappiness:
            result["swappiness"] = host.MemorySwappiness
        else:
            warn("the kernel has no memory swappiness for each cgroup: MemorySwappiness has no effect")
    if host.OomKillDisable:
        if machine.oom_kill_disable:
            result["disableOOMKiller"] = True
        else:
            warn("the kernel cannot switch the OOM killer off: OomKillDisable has no effect")
    return result


def _check_memory(host: docker.Resources) -> None:
    if host.Memory < 0 or 0 < host.Memory < _MIN_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.MemorySwap > 0 and not host.Memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < host.MemorySwap < host.Memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
            hint="MemorySwap is memory and swap together",
        )
    if host.MemorySwap < -1:
        raise InvalidArgument(f"invalid MemorySwap {host.MemorySwap}: -1 is no limit")
    if host.MemorySwappiness is not None and not -1 <= host.MemorySwappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {host.MemorySwappiness}, valid memory swappiness range is 0-100"
        )
    if host.MemoryReservation < 0 or 0 < host.MemoryReservation < _MIN_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < host.Memory < host.MemoryReservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.KernelMemoryTCP < 0:
        raise InvalidArgument(f"invalid KernelMemoryTCP {host.KernelMemoryTCP}")


def _cpu(host: docker.Resources, machine: Machine) -> Document:
    _check_cpu(host, machine)
    result: Document = {}
    if host.CpuShares or host.NanoCpus or host.CpuQuota or host.CpuPeriod:
        _need(machine, "cpu", "CPU limits")
    if host.CpuShares:
        result["shares"] = host.CpuShares
    if host.NanoCpus:
        result["period"] = _PERIOD_US
        result["quota"] = host.NanoCpus * _PERIOD_US // 10**9
    if host.CpuPeriod:
        result["period"] = host.CpuPeriod
    if host.CpuQuota:
        result["quota"] = host.CpuQuota
    if host.CpuRealtimePeriod:
        result["realtimePeriod"] = host.CpuRealtimePeriod
    if host.CpuRealtimeRuntime:
        result["realtimeRuntime"] = host.CpuRealtimeRuntime
    for field, key, available in (
        ("CpusetCpus", "cpus", machine.cpus),
        ("CpusetMems", "mems", machine.mems),
    ):
        text: str = getattr(host, field)
        if text:
            _need(machine, "cpuset", field)
            _check_cpu_set(text, available, what="CPUs" if key == "cpus" else "memory nodes")
            result[key] = text
    return result


def _check_cpu(host: docker.Resources, machine: Machine) -> None:
    count = len(machine.cpus)
    if host.CpuShares < 0:
        raise InvalidArgument("shares can not be less than 0")
    if host.NanoCpus and (host.CpuPeriod or host.CpuQuota):
        other = "CPU Period" if host.CpuPeriod else "CPU Quota"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and {other} cannot both be set")
    if host.NanoCpus and not 10**7 <= host.NanoCpus <= count * 10**9:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        )
    if host.CpuPeriod and not 1000 <= host.CpuPeriod <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if host.CpuQuota and host.CpuQuota < 1000 and host.CpuQuota != -1:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if (host.CpuRealtimePeriod or host.CpuRealtimeRuntime) and not machine.cpu_realtime:
        raise Unsupported("Your kernel does not support CPU real-time scheduler")
    if host.CpuRealtimePeriod and host.CpuRealtimeRuntime > host.CpuRealtimePeriod:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_cpu_set(text: str, available: frozenset[int], *, what: str) -> None:
    if not parse_cpu_set(text) <= available:
        raise InvalidArgument(
            f"Requested {what} are not available - requested {text}, available: {_ranges(available)}"
        )


def _ranges(numbers: frozenset[int]) -> str:
    """Write a set as `0-3,7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _block_io(host: docker.Resources, machine: Machine, warn: Warn) -> Document:
    result: Document = {}
    for weight in (host.BlkioWeight, *(device.Weight for device in host.BlkioWeightDevice)):
        if weight and not 10 <= weight <= 1000:
            raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if host.BlkioWeight or host.BlkioWeightDevice:
        if machine.blkio_weight:
            weights = [
                {**_device_number(device.Path), "weight": device.Weight} for device in host.BlkioWeightDevice
            ]
            result.update({"weight": host.BlkioWeight} if host.BlkioWeight else {})
            result.update({"weightDevice": weights} if weights else {})
        else:
            warn("the kernel has no block I/O weights: BlkioWeight has no effect")
    for field, key in (
        ("BlkioDeviceReadBps", "throttleReadBpsDevice"),
        ("BlkioDeviceWriteBps", "throttleWriteBpsDevice"),
        ("BlkioDeviceReadIOps", "throttleReadIOPSDevice"),
        ("BlkioDeviceWriteIOps", "throttleWriteIOPSDevice"),
    ):
        limits: list[docker.ThrottleDevice] = getattr(host, field)
        if limits:
            _need(machine, "blkio", field)
            result[key] = [_throttle(limit, field) for limit in limits]
    return result


def _throttle(limit: docker.ThrottleDevice, field: str) -> Document:
    if limit.Rate <= 0:
        raise InvalidArgument(f"invalid {field} rate {limit.Rate} for {limit.Path}: must be above 0")
    return {**_device_number(limit.Path), "rate": limit.Rate}


def _device_number(path: str) -> Document:
    """Return major and minor of a block device; the one look at the machine that limits need."""
    try:
        status = os.stat(path)
    except OSError as exc:
        raise InvalidArgument(f"no such block device: {path}: {os.strerror(exc.errno or 0)}") from exc
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"{path} is not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
