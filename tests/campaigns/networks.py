"""Containers that are put in networks and taken out, thousands of times, and sampand killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from statistics import median

from tests.campaigns import census
from tests.system.network_host import HOST, NetworkHost, serve
from tests.system.sampand import wait_for

BODY = {"Image": "busybox", "Cmd": ["sleep", "100000"]}
PORTS = {"80/tcp": [{"HostPort": "8090"}], "53/udp": [{"HostPort": "8090"}]}


def connections(host: NetworkHost, count: int, seed: int) -> list[str]:
    """Connect a running container to a network and disconnect it, over and over: nothing is left."""
    del seed
    host.cli("network", "create", "--ipv6", "mine")
    serve(host, "web", "-p", "8080:80")
    _connect_and_disconnect(host)
    before, there = census.take(host), on_host(host)
    times = []
    for number in range(count):
        begin = time.perf_counter()
        _connect_and_disconnect(host)
        times.append(time.perf_counter() - begin)
        if number % 500 == 499:
            print(f"{number + 1} cycles, median {median(times[-500:]) * 1000:.1f} ms", flush=True)
    census.settle(host, before)
    tenth = count // 10 or 1
    first, last = median(times[:tenth]) * 1000, median(times[-tenth:]) * 1000
    print(f"median of the first tenth {first:.1f} ms, of the last {last:.1f} ms")
    return [*census.differences(before, census.take(host)), *changes(host, there)]


def _connect_and_disconnect(host: NetworkHost) -> None:
    host.call("POST", "/networks/mine/connect", {"Container": "web"})
    host.call("POST", "/networks/mine/disconnect", {"Container": "web"})


def crowd(host: NetworkHost, count: int, seed: int) -> list[str]:
    """Start many containers on one network: the last one as fast as the first, each reachable by name."""
    return _crowd(host, ["crowd"], count, seed)


def crowds(host: NetworkHost, count: int, seed: int) -> list[str]:
    """The same on three networks, so many on each: neighbours are found by name, those of others are not."""
    return _crowd(host, ["crowd-0", "crowd-1", "crowd-2"], count, seed)


def _crowd(host: NetworkHost, networks: list[str], count: int, seed: int) -> list[str]:
    del seed
    for number, network in enumerate(networks):
        host.cli("network", "create", "--subnet", f"10.{90 + number}.0.0/16", network)
    times, work = [], []
    for number in range(count * len(networks)):
        network = networks[number % len(networks)]
        body = {**BODY, "HostConfig": {"NetworkMode": network}}
        name = f"{network}-{number // len(networks)}"
        container = host.call("POST", f"/containers/create?name={name}", body)["Id"]
        begin, before = time.perf_counter(), _processor_s(host)
        host.call("POST", f"/containers/{container}/start")
        times.append(time.perf_counter() - begin)
        work.append(_processor_s(host) - before)
    part = max(len(times) // 20, 1)
    for word, some in (("first", slice(1, part + 1)), ("last", slice(-part, None))):
        quarter = sorted(times[some])[part // 4] * 1000
        print(
            f"start of the {word} {part}: median {median(times[some]) * 1000:.1f} ms, "
            f"quarter {quarter:.1f} ms, sampand's processor time {sum(work[some]) / part * 1000:.1f} ms",
            flush=True,
        )
    violations = []
    full = _neighbour_table_was_full()
    for number, network in enumerate(networks):
        violations += [f"{name} is not reached by name" for name in _unreached(host, network, count)]
        stranger = f"{networks[number - 1]}-0"
        if len(networks) > 1 and _pings(host, f"{network}-0", stranger):
            violations.append(f"{stranger} from {network}: reached by name")
    print(
        f"{count * len(networks)} names asked for, {len(violations)} violations; "
        f"the table of neighbours was full {_neighbour_table_was_full() - full} times",
        flush=True,
    )
    for one in host.call("GET", "/containers/json"):
        host.call("DELETE", f"/containers/{one['Id']}?force=1")
    return violations


def _unreached(host: NetworkHost, network: str, count: int) -> list[str]:
    """Ask for each name from another container of its network, a hundred at a time; return what fails.

    Three times, with a second between: packets are lost while the kernel's table of neighbours is full, which
    all namespaces share (net.ipv4.neigh.default.gc_thresh3, 1,024 as it comes).
    """
    ping = "ping -c 1 -W 5 $0-$1 >/dev/null 2>&1"
    tries = f"{ping} || (sleep 1; {ping}) || (sleep 1; {ping})"
    script = f"while [ $1 -lt $2 ]; do {tries} || echo $0-$1; set -- $(($1 + 1)) $2; done"
    missing = []
    for first in range(0, count, 100):
        asks = f"{network}-{(first + 100) % count}"
        words = ("sh", "-c", script, network, str(first), str(min(first + 100, count)))
        done = host.docker("exec", asks, *words, timeout_s=600)
        missing += done.text.split() if done.code == 0 else [f"{asks}: {done.err}"]
    return missing


def _neighbour_table_was_full() -> int:
    """Return how often since the machine's start; a line a processor (net/core/neighbour.c)."""
    head, *lines = Path("/proc/net/stat/arp_cache").read_text().splitlines()
    place = head.split().index("table_fulls")
    return sum(int(line.split()[place], 16) for line in lines)


def _pings(host: NetworkHost, container: str, name: str) -> bool:
    return host.docker("exec", container, "ping", "-c", "1", "-W", "5", name).code == 0


def _processor_s(host: NetworkHost) -> float:
    assert host.process is not None
    fields = Path(f"/proc/{host.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Fills the table of tracked connections: each datagram is a flow of its own.
_FLOOD = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    try:
        sock.sendto(b"x", (f"127.{number >> 14}.1.1", 1024 + (number & 0x3fff)))
    except OSError:
        pass
"""


def _wait_for_line(host: NetworkHost, line: str, times: int, timeout_s: float) -> None:
    wait_for(lambda: host.log.read_text().count(line) == times, f"sampand says: {line}", timeout_s)


def full_table(host: NetworkHost, count: int, seed: int) -> list[str]:
    """Fill the table of tracked connections, and let it empty: sampand says both, so does `system check`."""
    del seed
    serve(host, "web", "-p", "8080:80")
    limit = int(host.on_host("sysctl", "-n", "net.netfilter.nf_conntrack_max").text)
    full, empty = (
        "the table of tracked connections is full",
        "the table of tracked connections has room again",
    )
    violations = []
    for number in range(1, count + 1):
        host.on_host(sys.executable, "-I", "-S", "-c", _FLOOD, str(limit))
        checked = host.sampan("system", "check")
        if checked.code != 1 or f"of {limit} tracked connections" not in checked.text:
            violations.append(f"system check says of a full table: {checked.text}")
        _wait_for_line(host, full, number, 10)
        _wait_for_line(host, empty, number, 90)
        if host.sampan("system", "check").code != 0:
            violations.append("system check is not content with a table that has room again")
        if host.fetch(HOST, 8080, lan="lan") != "hi":
            violations.append("the published port is not reached any more")
    return violations


def network_kills(host: NetworkHost, count: int, seed: int) -> list[str]:
    """kill -9 of sampand at random moments of start, connect, disconnect and stop, with published ports.

    After each it comes back, a container that ran before answers at its port, and after the last one nothing
    is left on the host that no container has.
    """
    dice = random.Random(seed)
    host.cli("network", "create", "--ipv6", "mine")
    serve(host, "web", "--network", "mine", "-p", "8080:80")
    host.kill()  # the steady container's shim is no child of the launcher's any more
    host.start()
    _cycle(host)
    before, there = census.take(host), on_host(host)
    violations: list[str] = []
    for number in range(count):
        worker = threading.Thread(target=_disturb, args=(host,))
        worker.start()
        time.sleep(dice.uniform(0, 0.25))
        host.kill()
        worker.join()
        host.start()
        if host.fetch(HOST, 8080, lan="lan") != "hi":
            violations.append(f"kill {number}: the steady container does not answer")
        for other in host.call("GET", "/containers/json?all=1"):
            if other["Names"] != ["/web"]:
                host.call("DELETE", f"/containers/{other['Id']}?force=1")
        if number % 20 == 19:
            print(f"{number + 1} kills, {len(violations)} violations", flush=True)
    _cycle(host)
    census.settle(host, before)
    left = [line for line in census.differences(before, census.take(host)) if "fds" not in line]
    return [*violations, *left, *changes(host, there)]


def _cycle(host: NetworkHost) -> None:
    body = {**BODY, "HostConfig": {"PortBindings": PORTS}}
    container = host.call("POST", "/containers/create", body)["Id"]
    host.call("POST", f"/containers/{container}/start")
    host.call("POST", "/networks/mine/connect", {"Container": container})
    host.call("POST", "/networks/bridge/disconnect", {"Container": container})
    host.call("POST", f"/containers/{container}/stop?t=0")
    host.call("DELETE", f"/containers/{container}")


def _disturb(host: NetworkHost) -> None:
    try:
        while True:
            _cycle(host)
    except (OSError, AssertionError, ValueError):
        return  # the daemon died in the middle, as it should
    except Exception as exc:  # http.client's many ways to say the same
        if "http" not in type(exc).__module__:
            raise


def on_host(host: NetworkHost) -> dict[str, list[str]]:
    """Return the interfaces, addresses' owners, and elements of every set that the host has."""
    tables = json.loads(host.on_host("nft", "-j", "list", "ruleset").text)["nftables"]
    found = {f"set {one['name']}": one.get("elem", []) for item in tables for one in _sets(item)}
    found["interfaces"] = host.on_host("ls", "/proc/sys/net/ipv4/conf").text.split()
    found["namespaces"] = host.on_host("ip", "netns", "list-id").text.splitlines()
    return {name: sorted(json.dumps(one, sort_keys=True) for one in items) for name, items in found.items()}


def _sets(item: dict[str, object]) -> list[dict[str, object]]:
    return [one for kind, one in item.items() if kind in ("set", "map") and isinstance(one, dict)]


def changes(host: NetworkHost, before: dict[str, list[str]]) -> list[str]:
    """Return what of the host is another than before, once what is under way is done."""
    try:
        wait_for(lambda: on_host(host) == before, "the host is as before", 20)
    except AssertionError:
        after = on_host(host)
        return [
            f"{name}: was {before.get(name)}, is {after[name]}"
            for name in after
            if after[name] != before.get(name)
        ]
    return []
