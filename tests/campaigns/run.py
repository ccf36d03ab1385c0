"""The campaigns themselves. Each prints seed, counts and every violation; exit 1 if there was one."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.campaigns import census
from tests.campaigns.archives import archives
from tests.campaigns.builds import builds
from tests.campaigns.fuzz import fuzz
from tests.campaigns.network_steps import network_steps
from tests.campaigns.networks import connections, crowd, crowds, full_table, network_kills
from tests.campaigns.outputs import outputs
from tests.campaigns.power_cuts import power_cuts
from tests.campaigns.projects import projects
from tests.campaigns.registry import registry
from tests.campaigns.restarts import restarts
from tests.campaigns.volumes import volumes
from tests.system.network_host import NetworkHost, network_host
from tests.system.sampand import Sampand, serve, wait_for

BODY = {"Image": "busybox", "HostConfig": {"NetworkMode": "none"}}


def cycles(daemon: Sampand, count: int, seed: int) -> list[str]:
    """Create, start, stop, remove, over and over: the census must not change."""
    del seed
    _cycle(daemon)
    wait_for(lambda: census.take(daemon).shims == 0, "the first shim's end")
    before, times = census.take(daemon), []
    for number in range(count):
        begin = time.perf_counter()
        _cycle(daemon)
        times.append(time.perf_counter() - begin)
        if number % 100 == 99:
            print(f"{number + 1} cycles, median {median(times[-100:]) * 1000:.1f} ms", flush=True)
    census.settle(daemon, before)
    tenth = count // 10 or 1
    first, last = median(times[:tenth]) * 1000, median(times[-tenth:]) * 1000
    print(f"median of the first tenth {first:.1f} ms, of the last {last:.1f} ms")
    return census.differences(before, census.take(daemon))


def _cycle(daemon: Sampand) -> None:
    container = daemon.call("POST", "/containers/create", {**BODY, "Cmd": ["sleep", "100"]})["Id"]
    daemon.call("POST", f"/containers/{container}/start")
    daemon.call("POST", f"/containers/{container}/stop?t=0")
    daemon.call("DELETE", f"/containers/{container}")


def kills(daemon: Sampand, count: int, seed: int) -> list[str]:
    """kill -9 of sampand at random moments of create, start, stop and remove.

    After each: it comes back, a container that ran before still runs with the same pid and start time, and
    after the last one nothing is left that no container owns.
    """
    dice = random.Random(seed)
    violations: list[str] = []
    _cycle(daemon)
    wait_for(lambda: census.take(daemon).shims == 0, "the first shim's end")
    before = census.take(daemon)
    steady = daemon.call(
        "POST",
        "/containers/create",
        {**BODY, "Cmd": ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done"]},
    )["Id"]
    daemon.call("POST", f"/containers/{steady}/start")
    pid = daemon.call("GET", f"/containers/{steady}/json")["State"]["Pid"]
    recoveries = []
    for number in range(count):
        worker = threading.Thread(target=_disturb, args=(daemon,))
        worker.start()
        time.sleep(dice.uniform(0, 0.12))
        daemon.kill()
        worker.join()
        begin = time.perf_counter()
        daemon.start()
        recoveries.append(time.perf_counter() - begin)
        state = daemon.call("GET", f"/containers/{steady}/json")["State"]
        if not (state["Running"] and state["Pid"] == pid):
            violations.append(f"kill {number}: the steady container is {state}")
            break
        for other in daemon.call("GET", "/containers/json?all=1"):
            if other["Id"] != steady:
                daemon.call("DELETE", f"/containers/{other['Id']}?force=1")
        if number % 50 == 49:
            print(f"{number + 1} kills, {len(violations)} violations", flush=True)
    daemon.call("POST", f"/containers/{steady}/kill")
    wait_for(lambda: not daemon.call("GET", f"/containers/{steady}/json")["State"]["Running"], "its end")
    violations += _check_log(daemon, steady)
    daemon.call("DELETE", f"/containers/{steady}?force=1")
    print(f"recovery: median {median(recoveries):.2f} s, longest {max(recoveries):.2f} s")
    census.settle(daemon, before)
    return violations + [
        line for line in census.differences(before, census.take(daemon)) if "fds" not in line
    ]


def _disturb(daemon: Sampand) -> None:
    try:
        while True:
            _cycle(daemon)
    except (OSError, AssertionError, ValueError):
        return  # the daemon died in the middle, as it should
    except Exception as exc:  # http.client's many ways to say the same
        if "http" not in type(exc).__module__:
            raise


def _check_log(daemon: Sampand, container: str) -> list[str]:
    """Every number that was written is in the log, once and in order."""
    _, _, raw = daemon.request("GET", f"/containers/{container}/logs?stdout=1")
    numbers, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8], "big")
        numbers += [int(line) for line in raw[at + 8 : at + 8 + size].split()]
        at += 8 + size
    print(f"log: {len(numbers)} lines")
    if numbers != list(range(len(numbers))) or not numbers:
        return [f"the log has gaps: {len(numbers)} lines, last {numbers[-1:]}"]
    return []


CAMPAIGNS: dict[str, Callable[[Sampand, int, int], list[str]]] = {
    "archives": archives,
    "builds": builds,
    "cycles": cycles,
    "kills": kills,
    "outputs": outputs,
    "registry": registry,
    "restarts": restarts,
    "volumes": volumes,
}


# Those that need a namespace in place of the host: what they do there must not reach anybody.
ON_A_HOST: dict[str, Callable[[NetworkHost, int, int], list[str]]] = {
    "connections": connections,
    "crowd": crowd,
    "crowds": crowds,
    "full-table": full_table,
    "fuzz": fuzz,
    "network-kills": network_kills,
    "network-steps": network_steps,
    "projects": projects,
}


# Those that have machines of their own.
ON_A_MACHINE: dict[str, Callable[[Path, int, int], list[str]]] = {"power-cuts": power_cuts}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/campaign", description=__doc__)
    parser.add_argument("name", choices=sorted((*CAMPAIGNS, *ON_A_HOST, *ON_A_MACHINE)))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # one that is told to end leaves nothing either
    folder = Path(tempfile.mkdtemp(prefix="sampan-campaign-"))
    begin = time.monotonic()
    try:
        violations = _run(folder, options.name, options.count, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in violations:
        print(f"violation: {line}")
    print(
        f"{options.name}: {options.count} times, seed {options.seed}, {time.monotonic() - begin:.0f} s, "
        f"{len(violations)} violations"
    )
    sys.exit(1 if violations else 0)


def _run(folder: Path, name: str, count: int, seed: int) -> list[str]:
    if name in ON_A_HOST:
        with network_host(folder) as host:
            return ON_A_HOST[name](host, count, seed)
    if name in ON_A_MACHINE:
        return ON_A_MACHINE[name](folder, count, seed)
    daemon = serve(folder)
    try:
        return CAMPAIGNS[name](daemon, count, seed)
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
