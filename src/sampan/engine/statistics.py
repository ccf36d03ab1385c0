"""Stats: one sample of a container's cgroup, in the shape of the Docker API."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.times import format_time
from sampan.spec import docker

_TICK_NS: Final = 10**9 // os.sysconf("SC_CLK_TCK")
_INTERFACE_FIELDS: Final = (
    "rx_bytes",
    "rx_packets",
    "rx_errors",
    "rx_dropped",
    "tx_bytes",
    "tx_packets",
    "tx_errors",
    "tx_dropped",
)
# Columns of /proc/net/dev behind the name: eight received, eight sent; we show the first four of each.
_COLUMNS: Final = (0, 1, 2, 3, 8, 9, 10, 11)


def read_stats(core: Core, container: Container) -> docker.ContainerStats:
    """See `Containers.stats`."""
    record = container.record
    name = f"/{record.name}"
    if not container.running:
        return docker.ContainerStats(name=name, id=record.id)
    manager = core.cgroup(container)
    try:
        raw = manager.stats()
    finally:
        manager.close()
    return docker.ContainerStats(
        name=name,
        id=record.id,
        read=format_time(time.time_ns()),
        pids_stats=_pids(raw),
        blkio_stats=_blkio(_sub(raw, "blkio")),
        cpu_stats=_cpu(raw, online=len(core.machine.cpus)),
        memory_stats=_memory(raw, core.machine.memory_bytes),
        networks=_networks(container.state.pid),
    )


def _sub(raw: Mapping[str, object], *names: str) -> dict[str, object]:
    value: object = raw
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def _int(raw: Mapping[str, object], name: str) -> int:
    value = raw.get(name, 0)
    return value if isinstance(value, int) else 0


def _pids(raw: Mapping[str, object]) -> docker.PidsStats:
    pids = _sub(raw, "pids")
    return docker.PidsStats(current=_int(pids, "current"), limit=_int(pids, "limit"))


def _cpu(raw: Mapping[str, object], *, online: int) -> docker.CpuStats:
    usage, throttling = _sub(raw, "cpu", "usage"), _sub(raw, "cpu", "throttling")
    percpu = usage.get("percpu")
    return docker.CpuStats(
        cpu_usage=docker.CpuUsage(
            total_usage=_int(usage, "total"),
            percpu_usage=[int(value) for value in percpu] if isinstance(percpu, list) else UNSET,
            usage_in_kernelmode=_int(usage, "kernel"),
            usage_in_usermode=_int(usage, "user"),
        ),
        system_cpu_usage=_system_cpu_ns(),
        online_cpus=online,
        throttling_data=docker.ThrottlingData(
            periods=_int(throttling, "periods"),
            throttled_periods=_int(throttling, "throttledPeriods"),
            throttled_time=_int(throttling, "throttledTime"),
        ),
    )


def _system_cpu_ns() -> int:
    """Return the CPU time of the whole machine: the first seven columns of /proc/stat (proc(5))."""
    with open("/proc/stat") as file:
        return sum(int(field) for field in file.readline().split()[1:8]) * _TICK_NS


def _memory(raw: Mapping[str, object], machine_bytes: int) -> docker.MemoryStats:
    usage, details = _sub(raw, "memory", "usage"), _sub(raw, "memory", "raw")
    limit = _int(usage, "limit")
    return docker.MemoryStats(
        usage=_int(usage, "usage"),
        max_usage=_int(usage, "max") or UNSET,
        stats={name: value for name, value in details.items() if isinstance(value, int)},
        failcnt=_int(usage, "failcnt") if "failcnt" in usage else UNSET,
        limit=min(limit, machine_bytes) if limit else machine_bytes,
    )


def _blkio(raw: Mapping[str, object]) -> docker.BlkioStats:
    return docker.BlkioStats(
        io_service_bytes_recursive=_blkio_entries(raw.get("ioServiceBytesRecursive")),
        io_serviced_recursive=_blkio_entries(raw.get("ioServicedRecursive")),
    )


def _blkio_entries(value: object) -> list[docker.BlkioEntry]:
    entries = value if isinstance(value, list) else []
    return [
        docker.BlkioEntry(
            major=_int(entry, "major"),
            minor=_int(entry, "minor"),
            op=str(entry.get("op", "")).lower(),
            value=_int(entry, "value"),
        )
        for entry in entries
        if isinstance(entry, dict)
    ]


def _networks(pid: int) -> dict[str, docker.InterfaceStats]:
    """Return the counters of each interface but loopback, in the network namespace of pid."""
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.read().splitlines()[2:]
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            values = numbers.split()
            found[name.strip()] = docker.InterfaceStats(
                **{
                    field: int(values[column])
                    for field, column in zip(_INTERFACE_FIELDS, _COLUMNS, strict=True)
                }
            )
    return found
