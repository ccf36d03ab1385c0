"""Usage of a v2 cgroup in the shape of runc's `events --stats`. Lean (decision 0002).

Source: runc types/events.go for the names, kernel admin-guide/cgroup-v2 for the files. Where the shape
means v1 (swap counts memory in, nanoseconds), the numbers are turned into v1's.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.kernel.cgroups.limits import MAX_UINT64
from sampan.kernel.cgroups.values import huge_page_sizes, keyed, listed, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.fastjson import JsonValue
    from sampan.kernel.cgroups.directory import Directory
    from sampan.kernel.cgroups.manager import Stats

# io.stat's keys as the lists and operations of v1.
_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def read_stats(directory: Directory) -> Stats:
    """Return `data` of an event; a controller that is not there leaves its part empty."""
    stats: Stats = {
        "cpu": _cpu(directory),
        "cpuset": _cpuset(directory),
        "memory": _memory(directory),
        "pids": _pids(directory),
        "blkio": _io(directory),
        "hugetlb": read_hugetlb(directory),
        "intel_rdt": {},
        "network_interfaces": None,
    }
    return stats


def check_usage(directory: Directory, limit: int) -> None:
    """Refuse a limit below what is in use, which would have the OOM killer at work at once.

    Raises:
        InvalidArgument: more than limit is in use.
    """
    usage = number(directory.find("memory.current"))
    if 0 < limit < usage:
        raise InvalidArgument(f"linux.resources.memory.limit: {limit} is less than the {usage} bytes in use")


def _cpu(directory: Directory) -> Stats:
    counts = keyed(directory.find("cpu.stat"))
    stats: Stats = {
        "usage": {
            "total": counts.get("usage_usec", 0) * 1000,
            "kernel": counts.get("system_usec", 0) * 1000,
            "user": counts.get("user_usec", 0) * 1000,
        },
        "throttling": {
            "periods": counts.get("nr_periods", 0),
            "throttledPeriods": counts.get("nr_throttled", 0),
            "throttledTime": counts.get("throttled_usec", 0) * 1000,
        },
    }
    return _with_pressure(stats, directory, "cpu")


def _cpuset(directory: Directory) -> Stats:
    cpus = listed(directory.find("cpuset.cpus"))
    mems = listed(directory.find("cpuset.mems"))
    return {"cpus": list(cpus), "mems": list(mems)}


def _memory(directory: Directory) -> Stats:
    raw = keyed(directory.find("memory.stat"))
    if not raw:
        return {}
    usage = _memory_entry(directory, "memory")
    swap = _memory_entry(directory, "memory.swap")
    both = {
        "limit": min(usage["limit"] + swap["limit"], MAX_UINT64),
        "usage": usage["usage"] + swap["usage"],
        "max": 0,
        "failcnt": swap["failcnt"],
    }
    stats: Stats = {
        "cache": raw.get("file", 0),
        "usage": {**usage},
        "swap": {**both},
        "kernel": {"limit": 0, "usage": raw.get("kernel", 0), "failcnt": 0},
        "kernelTCP": {"limit": 0, "usage": raw.get("sock", 0), "failcnt": 0},
        "raw": {**raw},
    }
    return _with_pressure(stats, directory, "memory")


def _memory_entry(directory: Directory, prefix: str) -> dict[str, int]:
    events = keyed(directory.find(f"{prefix}.events"))
    return {
        "limit": number(directory.find(f"{prefix}.max")),
        "usage": number(directory.find(f"{prefix}.current")),
        "max": number(directory.find(f"{prefix}.peak")),
        "failcnt": events.get("max", 0),
    }


def _pids(directory: Directory) -> Stats:
    limit = (directory.find("pids.max") or "max").strip()
    return {
        "current": number(directory.find("pids.current")),
        "limit": 0 if limit == "max" else int(limit),
    }


def _io(directory: Directory) -> Stats:
    lists: dict[str, list[JsonValue]] = {}
    for line in (directory.find("io.stat") or "").splitlines():
        node, *pairs = line.split()
        major, colon, minor = node.partition(":")
        if not colon:
            continue
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in _IO:
                name, operation = _IO[key]
                entry: JsonValue = {
                    "major": int(major),
                    "minor": int(minor),
                    "op": operation,
                    "value": int(value),
                }
                lists.setdefault(name, []).append(entry)
    return _with_pressure({**lists}, directory, "io")


def read_hugetlb(directory: Directory) -> Stats:
    """Return usage keyed by page size."""
    stats: Stats = {}
    for size in huge_page_sizes(directory, "current"):
        events = keyed(directory.find(f"hugetlb.{size}.events"))
        stats[size] = {
            "usage": number(directory.find(f"hugetlb.{size}.current")),
            "failcnt": events.get("max", 0),
        }
    return stats


def _with_pressure(stats: Stats, directory: Directory, resource: str) -> Stats:
    """Add `psi` to stats where the kernel measures pressure (CONFIG_PSI)."""
    psi: Stats = {}
    for line in (directory.find(f"{resource}.pressure") or "").splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        psi[kind] = {key: int(value) if key == "total" else float(value) for key, value in values.items()}
    if psi:
        stats["psi"] = psi
    return stats
