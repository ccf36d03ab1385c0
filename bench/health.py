"""Health checks of many containers: how late they come, what one costs beside what its program costs alone.

`python -m bench.health --count 1000 --seconds 20`: that many containers with `true` as their check, a second
after the end of the last one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tests.system.sampand import BUSYBOX, Sampand, serve

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_CHECK = {"Test": ["CMD", "true"], "Interval": 10**9}
_ALONE = 1000
_ALL = "262144"  # kernel/sched/sched.h, MAX_SHARES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.health", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--first", action="store_true", help="on a machine that others use: go before them")
    options = parser.parse_args()
    print(f"the program alone: {measure_alone():.2f} ms of processor time")
    folder = Path(tempfile.mkdtemp(prefix="sampan-bench-"))
    daemon = serve(folder)
    try:
        daemon.stop()
        daemon.start("--log-level=info")
        ids = [_start(daemon) for _ in range(options.count)]
        if options.first:
            _go_first(daemon)
        _measure(daemon, ids, options.seconds)
        for container in ids:
            daemon.call("DELETE", f"/containers/{container}?force=1")
    finally:
        daemon.close()
        shutil.rmtree(folder, ignore_errors=True)


def measure_alone() -> float:
    """Return the processor time of starting the check's program by posix_spawn, and of its life, in ms."""
    begin = os.times()
    for _ in range(_ALONE):
        pid = os.posix_spawn(BUSYBOX, ["true"], {}, setsid=True)
        os.waitpid(pid, 0)
    end = os.times()
    return 1000 * sum(end[part] - begin[part] for part in range(4)) / _ALONE


def _start(daemon: Sampand) -> str:
    body = {"Image": "busybox", "Cmd": ["sleep", "100000"], "Healthcheck": _CHECK}
    container: str = daemon.call(
        "POST", "/containers/create", {**body, "HostConfig": {"NetworkMode": "none"}}
    )["Id"]
    daemon.call("POST", f"/containers/{container}/start")
    return container


def _go_first(daemon: Sampand) -> None:
    """Give sampand and the checks (cgroup v1) nearly all of the processors: others use the machine, too."""
    assert daemon.process is not None
    parent = Path("/sys/fs/cgroup/cpu") / daemon.cgroup_parent.strip("/")
    own = parent / "sampand"
    own.mkdir()
    for folder in (parent, own):
        (folder / "cpu.shares").write_text(_ALL)
    (own / "cgroup.procs").write_text(str(daemon.process.pid))


def _measure(daemon: Sampand, ids: list[str], seconds: float) -> None:
    shims = [_parent(_inspect(daemon, one)["Pid"]) for one in ids]
    checkers = [
        child for shim in shims for child in _children(shim) if _children(child) or _is_checker(child)
    ]
    time.sleep(3)
    before = _spent(daemon, shims)
    begin = time.monotonic()
    time.sleep(seconds)
    after = _spent(daemon, shims)
    elapsed = time.monotonic() - begin
    results = [_inspect(daemon, one)["Health"]["Log"] for one in ids[:200]]
    late = sorted(
        (_moment(then["Start"]) - _moment(last["End"]) - 1) * 1000
        for log in results
        for last, then in pairwise(log)
    )
    period = 1 + median(late) / 1000 + median(_length(one) for log in results for one in log)
    checks = len(ids) * elapsed / period
    failed = sum(one["ExitCode"] != 0 for log in results for one in log)
    print(
        f"{len(ids)} containers, {len(checkers)} checkers, {checks / elapsed:.0f} checks/s, failed: {failed}"
    )
    for name in after:
        print(f"{name}: {1000 * (after[name] - before[name]) / checks:.2f} ms of processor time a check")
    middle, high = median(late), late[len(late) * 99 // 100]
    print(f"late: median {middle:.0f} ms, 99th percentile {high:.0f}, most {late[-1]:.0f}")
    print(
        f"a check takes {1000 * median(_length(one) for log in results for one in log):.0f} ms in the median"
    )
    if checkers:
        print(f"memory of a checker: {median(_pss(one) for one in checkers[:50]) / 1024:.2f} MiB PSS")
        print(f"memory of its shim: {median(_pss(one) for one in shims[:50]) / 1024:.2f} MiB PSS")


def _inspect(daemon: Sampand, container: str) -> Any:  # noqa: ANN401 -- JSON
    return daemon.call("GET", f"/containers/{container}/json")["State"]


def _length(result: dict[str, str]) -> float:
    return _moment(result["End"]) - _moment(result["Start"])


def _moment(text: str) -> float:
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def _spent(daemon: Sampand, shims: Iterable[int]) -> dict[str, float]:
    """Return seconds of processor time so far: of sampand, the shims themselves, and what they started."""
    assert daemon.process is not None
    spent = {"sampand": _times(daemon.process.pid)[0], "shims": 0.0, "checkers": 0.0, "programs": 0.0}
    for shim in shims:
        own, reaped = _times(shim)
        spent["shims"] += own
        spent["programs"] += reaped
        for child in _children(shim):
            if _is_checker(child):
                own, reaped = _times(child)
                spent["checkers"] += own
                spent["programs"] += reaped
    return spent


def _is_checker(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")


def _times(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, reaped = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
    return own * _TICK_MS / 1000, reaped * _TICK_MS / 1000


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
