"""Stats: one sample of a container's cgroup, in the shape of the Docker API (docs/observing.md)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, UnsetType

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.times import format_time
from sampan.kernel.cgroups.samples import Sample, open_samples, read_small
from sampan.spec import docker

if TYPE_CHECKING:  # exists for type checkers only (the module is lean)
    from sampan.kernel.cgroups.samples import IoEntry, Read

Interfaces = dict[str, docker.InterfaceStats]

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
_WITHOUT_INTERFACES: Final = ("none", "host")


class StatsReader:
    """Reads one container again and again; holds no descriptor."""

    def __init__(self, core: Core, container: Container) -> None:
        self._core = core
        self._container = container
        self._read: Read | None = None

    def read(self, system_cpu_ns: int) -> docker.ContainerStats:
        """Return a sample of now, without `precpu_stats`; id and name alone if the container does not run."""
        container = self._container
        record = container.record
        empty = docker.ContainerStats(name=f"/{record.name}", id=record.id)
        if not container.running:
            return empty
        try:
            sample = self._sample()
        except FileNotFoundError:  # it has just ended
            return empty
        machine = self._core.machine
        return msgspec.structs.replace(
            empty,
            read=format_time(time.time_ns()),
            pids_stats=docker.PidsStats(current=sample.pids, limit=max(0, sample.pids_limit)),
            blkio_stats=_blkio(sample),
            cpu_stats=_cpu(sample, system_cpu_ns=system_cpu_ns, online=len(machine.cpus)),
            memory_stats=_memory(sample, machine.memory_bytes),
            networks=self._networks(),
        )

    def _sample(self) -> Sample:
        if self._read is None:
            manager = self._core.cgroup(self._container)
            try:
                self._read = open_samples(manager.paths())
            finally:
                manager.close()
        return self._read()

    def _networks(self) -> Interfaces | UnsetType:
        record = self._container.record
        if record.host.NetworkMode in _WITHOUT_INTERFACES:
            return UNSET
        return read_interfaces(record.state.pid) or UNSET


def read_stats(core: Core, container: Container) -> docker.ContainerStats:
    """See `Containers.stats`."""
    return StatsReader(core, container).read(system_cpu_ns())


def after(before: docker.ContainerStats | None, now: docker.ContainerStats) -> docker.ContainerStats:
    """Return a sample that carries the one before it, for clients that show rates."""
    if before is None:
        return now
    return msgspec.structs.replace(now, preread=before.read, precpu_stats=before.cpu_stats)


def system_cpu_ns() -> int:
    """Return the CPU time of the whole machine: the first seven columns of /proc/stat (proc(5))."""
    line = read_small("/proc/stat").partition("\n")[0]
    return sum(int(field) for field in line.split()[1:8]) * _TICK_NS


def _cpu(sample: Sample, *, system_cpu_ns: int, online: int) -> docker.CpuStats:
    return docker.CpuStats(
        cpu_usage=docker.CpuUsage(
            total_usage=sample.cpu_ns,
            percpu_usage=UNSET if sample.percpu_ns is None else sample.percpu_ns,
            usage_in_kernelmode=sample.kernel_ns,
            usage_in_usermode=sample.user_ns,
        ),
        system_cpu_usage=system_cpu_ns,
        online_cpus=online,
        throttling_data=docker.ThrottlingData(
            periods=sample.periods,
            throttled_periods=sample.throttled_periods,
            throttled_time=sample.throttled_ns,
        ),
    )


def _memory(sample: Sample, machine_bytes: int) -> docker.MemoryStats:
    peak, failures, limit = sample.memory_peak_bytes, sample.memory_failures, sample.memory_limit
    return docker.MemoryStats(
        usage=sample.memory_bytes,
        max_usage=peak or UNSET,
        stats=sample.memory_details,
        failcnt=failures or UNSET,
        limit=min(limit, machine_bytes) if limit > 0 else machine_bytes,
    )


def _blkio(sample: Sample) -> docker.BlkioStats:
    if sample.io_operations is None:  # v2
        return docker.BlkioStats(io_service_bytes_recursive=_entries(sample.io_bytes))
    return docker.BlkioStats(
        io_service_bytes_recursive=_entries(sample.io_bytes),
        io_serviced_recursive=_entries(sample.io_operations),
        io_queue_recursive=[],
        io_service_time_recursive=[],
        io_wait_time_recursive=[],
        io_merged_recursive=[],
        io_time_recursive=[],
        sectors_recursive=[],
    )


def _entries(entries: list[IoEntry]) -> list[docker.BlkioEntry]:
    return [docker.BlkioEntry(major=one[0], minor=one[1], op=one[2], value=one[3]) for one in entries]


def read_interfaces(pid: int) -> Interfaces:
    """Return the counters of each interface but loopback, in the network namespace of pid."""
    try:
        lines = read_small(f"/proc/{pid}/net/dev").splitlines()[2:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    found = {}
    for line in lines:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            values = numbers.split()
            counters = (int(values[column]) for column in _COLUMNS)
            found[name.strip()] = docker.InterfaceStats(**dict(zip(_INTERFACE_FIELDS, counters, strict=True)))
    return found
