"""`sampan stats`. Lean (decision 0002)."""

from __future__ import annotations

import sys

from sampan.cli.listing import show_rows
from sampan.cli.progress import read_documents
from sampan.cli.table import binary_size, human_size, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.fastjson import JsonValue

    Sample = dict[str, JsonValue]

HEADINGS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_FIELDS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_HOME, _CLEAR_BELOW = "\x1b[2J\x1b[H", "\x1b[J"


def stats(context: Context, flags: Flags, names: list[str]) -> int:
    """Show what containers use, once a second until interrupted, or once."""
    once = flags.truth("no-stream")
    query = [("name", name) for name in names] + [("stream", "0" if once else "1")]
    if flags.truth("all"):
        query.append(("all", "1"))
    live = not once and sys.stdout.isatty()
    for document in read_documents(context.session().open("GET", "/sampan/v1/stats", query)):
        samples = document.get("Stats")
        if live:
            sys.stdout.write(_HOME)
        show_rows(
            (
                row(one, full=flags.truth("no-trunc"))
                for one in (samples if isinstance(samples, list) else ())
                if isinstance(one, dict)
            ),
            form=flags.text("format"),
            fields=_FIELDS,
            headings=HEADINGS,
        )
        if live:
            sys.stdout.write(_CLEAR_BELOW)
        sys.stdout.flush()
    return 0


def row(sample: Sample, *, full: bool = False) -> Row:
    """Return the columns of one container; a container that does not run shows dashes.

    Source: docker/cli, command/container/stats_helpers.go, for what is counted.
    """
    container = str(sample.get("id"))
    runs = not str(sample.get("read")).startswith("0001-")
    memory, limit = _memory_used(sample), _number(sample, "memory_stats", "limit")
    received, sent = _network(sample)
    read, written = _blocks(sample)
    return {
        "Container": str(sample.get("name")).removeprefix("/"),
        "ID": container if full else short_id(container),
        "Name": str(sample.get("name")).removeprefix("/") or "--",
        "CPUPerc": f"{cpu_percent(sample):.2f}%" if runs else "--",
        "MemUsage": f"{binary_size(memory)} / {binary_size(limit)}" if runs else "-- / --",
        "MemPerc": f"{100 * memory / limit if limit else 0:.2f}%" if runs else "--",
        "NetIO": f"{human_size(received, digits=3)} / {human_size(sent, digits=3)}" if runs else "--",
        "BlockIO": f"{human_size(read, digits=3)} / {human_size(written, digits=3)}" if runs else "--",
        "PIDs": str(_number(sample, "pids_stats", "current")) if runs else "--",
    }


def cpu_percent(sample: Sample) -> float:
    """Return the CPU time since the sample before, 100 for one CPU in use all the time."""
    used = _number(sample, "cpu_stats", "cpu_usage", "total_usage") - _number(
        sample, "precpu_stats", "cpu_usage", "total_usage"
    )
    before = _number(sample, "precpu_stats", "system_cpu_usage")
    machine = _number(sample, "cpu_stats", "system_cpu_usage") - before
    if not before or machine <= 0 or used <= 0:
        return 0.0
    return 100 * used / machine * _number(sample, "cpu_stats", "online_cpus")


def _memory_used(sample: Sample) -> int:
    """Return memory in use without the part of the page cache that can go at once."""
    usage = _number(sample, "memory_stats", "usage")
    details = _find(sample, "memory_stats", "stats")
    name = "total_inactive_file" if "total_inactive_file" in details else "inactive_file"
    idle = details.get(name)
    return usage - idle if isinstance(idle, int) and idle < usage else usage


def _network(sample: Sample) -> tuple[int, int]:
    interfaces = [one for one in _find(sample, "networks").values() if isinstance(one, dict)]
    return sum(_number(one, "rx_bytes") for one in interfaces), sum(
        _number(one, "tx_bytes") for one in interfaces
    )


def _blocks(sample: Sample) -> tuple[int, int]:
    listed = _find(sample, "blkio_stats").get("io_service_bytes_recursive")
    entries = listed if isinstance(listed, list) else []
    sums = {"r": 0, "w": 0}
    for entry in entries:
        if isinstance(entry, dict):
            letter = str(entry.get("op"))[:1].lower()
            if letter in sums:
                sums[letter] += _number(entry, "value")
    return sums["r"], sums["w"]


def _find(sample: Sample, *path: str) -> Sample:
    for name in path:
        value = sample.get(name)
        sample = value if isinstance(value, dict) else {}
    return sample


def _number(sample: Sample, *path: str) -> int:
    value = _find(sample, *path[:-1]).get(path[-1])
    return value if isinstance(value, int) else 0
