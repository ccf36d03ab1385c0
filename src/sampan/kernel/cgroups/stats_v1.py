"""Usage of a v1 cgroup in the shape of runc's `events --stats`. Lean (decision 0002).

Source: runc types/events.go for the names, kernel admin-guide/cgroup-v1 for the files. A controller that is
not there leaves its part empty, as runc does.
"""

from __future__ import annotations

import os

from sampan.kernel.cgroups.values import huge_page_sizes, keyed, listed, number, numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups.directory import Directory
    from sampan.kernel.cgroups.manager import Stats

    Find = Callable[[str], Directory | None]

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# For each list of runc's: BFQ's file (kernel 5.0 and newer), CFQ's (older), the throttling layer's.
_BLKIO = {
    "ioServiceBytesRecursive": (
        "bfq.io_service_bytes_recursive",
        "io_service_bytes_recursive",
        "throttle.io_service_bytes_recursive",
    ),
    "ioServicedRecursive": (
        "bfq.io_serviced_recursive",
        "io_serviced_recursive",
        "throttle.io_serviced_recursive",
    ),
    "ioQueueRecursive": ("bfq.io_queued_recursive", "io_queued_recursive"),
    "ioServiceTimeRecursive": ("bfq.io_service_time_recursive", "io_service_time_recursive"),
    "ioWaitTimeRecursive": ("bfq.io_wait_time_recursive", "io_wait_time_recursive"),
    "ioMergedRecursive": ("bfq.io_merged_recursive", "io_merged_recursive"),
    "ioTimeRecursive": ("bfq.time_recursive", "time_recursive"),
    "sectorsRecursive": ("bfq.sectors_recursive", "sectors_recursive"),
}
_CPUSET_NUMBERS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def read_stats(find: Find) -> Stats:
    """Return `data` of an event; find gives the directory for a controller, or None."""
    return {
        "cpu": _cpu(find("cpu"), find("cpuacct")),
        "cpuset": _cpuset(find("cpuset")),
        "memory": _memory(find("memory")),
        "pids": _pids(find("pids")),
        "blkio": _blkio(find("blkio")),
        "hugetlb": _hugetlb(find("hugetlb")),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def oom_kills_of(directory: Directory) -> int:
    """Return the OOM kills of one memory cgroup, without those below it."""
    return keyed(directory.find("memory.oom_control")).get("oom_kill", 0)


def _cpu(cpu: Directory | None, cpuacct: Directory | None) -> Stats:
    usage: Stats = {}
    throttling: Stats = {}
    if cpuacct is not None:
        by_cpu = [line.split() for line in (cpuacct.find("cpuacct.usage_all") or "").splitlines()[1:]]
        ticks = keyed(cpuacct.find("cpuacct.stat"))
        usage = {
            "total": number(cpuacct.find("cpuacct.usage")),
            "percpu": list(numbers(cpuacct.find("cpuacct.usage_percpu"))),
            "percpu_kernel": [int(line[2]) for line in by_cpu],
            "percpu_user": [int(line[1]) for line in by_cpu],
            "kernel": ticks.get("system", 0) * _NS_PER_TICK,
            "user": ticks.get("user", 0) * _NS_PER_TICK,
        }
    if cpu is not None:
        counts = keyed(cpu.find("cpu.stat"))
        throttling = {
            "periods": counts.get("nr_periods", 0),
            "throttledPeriods": counts.get("nr_throttled", 0),
            "throttledTime": counts.get("throttled_time", 0),
        }
    return {"usage": usage, "throttling": throttling}


def _cpuset(directory: Directory | None) -> Stats:
    if directory is None:
        return {}
    stats: Stats = {name: number(directory.find(f"cpuset.{name}")) for name in _CPUSET_NUMBERS}
    stats["cpus"] = list(listed(directory.find("cpuset.cpus")))
    stats["mems"] = list(listed(directory.find("cpuset.mems")))
    return stats


def _memory(directory: Directory | None) -> Stats:
    if directory is None:
        return {}
    raw = keyed(directory.find("memory.stat"))
    return {
        "cache": raw.get("cache", 0),
        "usage": _memory_entry(directory, "memory"),
        "swap": _memory_entry(directory, "memory.memsw"),
        "kernel": _memory_entry(directory, "memory.kmem"),
        "kernelTCP": _memory_entry(directory, "memory.kmem.tcp"),
        "raw": dict(raw),
    }


def _memory_entry(directory: Directory, prefix: str) -> Stats:
    return {
        "limit": number(directory.find(f"{prefix}.limit_in_bytes")),
        "usage": number(directory.find(f"{prefix}.usage_in_bytes")),
        "max": number(directory.find(f"{prefix}.max_usage_in_bytes")),
        "failcnt": number(directory.find(f"{prefix}.failcnt")),
    }


def _pids(directory: Directory | None) -> Stats:
    if directory is None:
        return {}
    limit = (directory.find("pids.max") or "max").strip()
    return {
        "current": number(directory.find("pids.current")),
        "limit": 0 if limit == "max" else int(limit),
    }


def _blkio(directory: Directory | None) -> Stats:
    stats: Stats = {}
    if directory is None:
        return stats
    for name, files in _BLKIO.items():
        for file in files:
            entries = _blkio_entries(directory.find(f"blkio.{file}"))
            if entries:
                stats[name] = entries
                break
    return stats


def _blkio_entries(text: str | None) -> list[JsonValue]:
    """Parse lines as `8:0 Read 4096` and `8:0 4096`; the total of all devices, `Total 4096`, is left out."""
    entries: list[JsonValue] = []
    for line in (text or "").splitlines():
        node, *operation, value = line.split()
        major, colon, minor = node.partition(":")
        if colon:
            entries.append(
                {
                    "major": int(major),
                    "minor": int(minor),
                    "op": operation[0] if operation else "",
                    "value": int(value),
                }
            )
    return entries


def _hugetlb(directory: Directory | None) -> Stats:
    stats: Stats = {}
    if directory is not None:
        for size in huge_page_sizes(directory, "usage_in_bytes"):
            stats[size] = {
                "usage": number(directory.find(f"hugetlb.{size}.usage_in_bytes")),
                "max": number(directory.find(f"hugetlb.{size}.max_usage_in_bytes")),
                "failcnt": number(directory.find(f"hugetlb.{size}.failcnt")),
            }
    return stats
