"""Networks beside a hand-made veth, bridge and nft set-up, and starts with a port beside the peers.

`python -m bench.networks [--rounds N] [--seconds S] [throughput] [http] [start]`, as root; in a network
namespace of its own, so the machine's tables, bridges and forwarding stay as they are. About five minutes.
Throughput is iperf3's, in the containers' namespaces; connections are made and closed one after another; HTTP
is wrk and nginx, a new connection for each request, eight at once.

What else runs on the machine makes every value worse, and seldom both contestants' alike: so they take turns,
each row has its ratio round by round, and iperf3 also tells what processor time a gigabit takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import engines
from bench.compare import Contestants, Row, alternate, render

_INSIDE = "SAMPAN_BENCH_NETWORKS"  # set in the process that has a namespace of its own
_HOST, _LAN = "192.0.2.1", "192.0.2.9"
_PORT, _PUBLISHED = 5201, 15201
_CONNECTIONS = 2000
_PATIENCE_S = 60
_PAUSE_S = 0.2  # within it all have cleared away what they left
_SERVER = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), backlog=512)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""
_CLIENT = """
import socket, sys, time
target, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
began, spent = time.perf_counter(), time.process_time()
for _ in range(count):
    socket.create_connection(target).close()
print(count / (time.perf_counter() - began), (time.process_time() - spent) / count * 1e6)
"""

_RULES = """
table ip hand {{
  chain pre {{
    type nat hook prerouting priority -100;
    ip daddr {host} tcp dport {outside} dnat to 10.99.0.2:{inside}
  }}
  chain post {{
    type nat hook postrouting priority 100;
    ip saddr 10.99.0.0/24 oifname != "hand0" masquerade
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Setup:
    """Two containers, or what stands for them: prefixes that run a program in their namespaces."""

    server: tuple[str, ...]
    client: tuple[str, ...]
    address: str
    port: int  # of the host, that leads to the server's _PORT


def run(*words: str) -> None:
    """Run a command that must work."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")


@contextmanager
def lan() -> Iterator[tuple[str, ...]]:
    """Make a neighbour beyond a wire; give the prefix that runs a program there."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        time.sleep(0.3)
        pid = str(holder.pid)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "out", "type", "veth", "peer", "name", "in", "netns", pid)
        run("ip", "addr", "add", f"{_HOST}/24", "dev", "out")
        run("ip", "link", "set", "out", "up")
        inside = ("nsenter", "-t", pid, "--net", "--")
        run(*inside, "ip", "addr", "add", f"{_LAN}/24", "dev", "in")
        run(*inside, "ip", "link", "set", "in", "up")
        yield inside
    finally:
        subprocess.run(["ip", "link", "delete", "out"], capture_output=True)
        holder.kill()
        holder.wait()


@contextmanager
def by_hand() -> Iterator[Setup]:
    """Make a bridge, two pairs and three rules: what somebody would write who needs no more."""
    holders = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) for _ in range(2)]
    try:
        time.sleep(0.3)
        run("ip", "link", "add", "hand0", "type", "bridge", "forward_delay", "0")
        run("ip", "addr", "add", "10.99.0.1/24", "dev", "hand0")
        run("ip", "link", "set", "hand0", "up")
        run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        prefixes = []
        for number, holder in enumerate(holders, start=2):
            inside = ("nsenter", "-t", str(holder.pid), "--net", "--")
            run(
                "ip",
                "link",
                "add",
                f"hand{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                str(holder.pid),
            )
            run("ip", "link", "set", f"hand{number}", "master", "hand0", "up")
            run(*inside, "ip", "link", "set", "lo", "up")
            run(*inside, "ip", "addr", "add", f"10.99.0.{number}/24", "dev", "eth0")
            run(*inside, "ip", "link", "set", "eth0", "up")
            run(*inside, "ip", "route", "add", "default", "via", "10.99.0.1")
            prefixes.append(inside)
        rules = _RULES.format(host=_HOST, outside=_PUBLISHED + 1, inside=_PORT)
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        yield Setup(prefixes[0], prefixes[1], "10.99.0.2", _PUBLISHED + 1)
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
        links = [f"ip link delete hand{number}" for number in (2, 3, 0)]  # the kernel would take its time
        for command in ("nft delete table ip hand", *links):
            subprocess.run(command.split(), capture_output=True)  # as much of it as was made


@contextmanager
def in_sampan(engine: engines.Engine) -> Iterator[Setup]:
    """Run two containers on the bridge, one with a published port."""
    for name, flags in (("server", ("-p", f"{_PUBLISHED}:{_PORT}")), ("client", ())):
        run(*engine.run("-d", "--name", name, "--network", "bridge", *flags, "busybox", "sleep", "9999"))
    try:
        found = [json.loads(_output(*engine.client, "inspect", name))[0] for name in ("server", "client")]
        pids = [str(one["State"]["Pid"]) for one in found]
        prefixes = [("nsenter", "-t", pid, "--net", "--") for pid in pids]
        address = found[0]["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        yield Setup(prefixes[0], prefixes[1], address, _PUBLISHED)
    finally:
        run(*engine.client, "rm", "-f", "server", "client")


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=_PATIENCE_S).stdout


@dataclass(frozen=True, slots=True)
class Flow:
    """How much in a second, Gbit or connections, and what processor time it took.

    cost: milliseconds for a gigabit, at both ends; microseconds for a connection, at the client's.
    """

    rate: float
    cost: float


def throughput(setup: Setup, client: Sequence[str], address: str, port: int, seconds: float) -> Flow:
    """Send from a client to the server as fast as it goes."""
    server = subprocess.Popen(
        [*setup.server, "iperf3", "-s", "-1", "--forceflush", "-p", str(_PORT)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        time.sleep(0.1)
        answer = _output(*client, "iperf3", "-c", address, "-p", str(port), "-t", str(seconds), "-J")
        end = json.loads(answer)["end"]
        rate = float(end["sum_received"]["bits_per_second"]) / 1e9
        share = end["cpu_utilization_percent"]["host_total"] + end["cpu_utilization_percent"]["remote_total"]
        return Flow(rate, share * 10 / rate)
    finally:
        server.kill()
        server.wait()


def connections(setup: Setup, client: Sequence[str], address: str, port: int) -> Flow:
    """Make connections to the server, one after another."""
    python = [sys.executable, "-I", "-S", "-c"]
    server = subprocess.Popen([*setup.server, *python, _SERVER, str(_PORT)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        rate, cost = _output(*client, *python, _CLIENT, address, str(port), str(_CONNECTIONS)).split()
        return Flow(float(rate), float(cost))
    finally:
        server.kill()
        server.wait()


_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  server {{ listen {port} backlog=1024; location / {{ return 200 "hi"; }} }}
}}
"""


def http(
    setup: Setup, client: Sequence[str], address: str, port: int, *, folder: Path, seconds: float
) -> Flow:
    """Ask nginx by wrk, each time by a new connection, eight at once; cost: wrk's own processor time."""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=_PORT))
    server = subprocess.Popen([*setup.server, "nginx", "-p", folder, "-c", config])
    try:
        url = f"http://{address}:{port}/"
        engines.wait_for((folder / "pid").exists, "nginx")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = _output(
            *client,
            "wrk",
            "-t",
            "1",
            "-c",
            "8",
            "-d",
            f"{max(1, round(seconds))}s",
            "-H",
            "Connection: close",
            url,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found = re.search(r"(\d+) requests in", said)
        rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
        assert found is not None
        assert rate is not None
        return Flow(float(rate[1]), spent / int(found[1]) * 1e6)
    finally:
        server.terminate()
        server.wait()


def http_rows(
    engine: engines.Engine, outside: Sequence[str], folder: Path, rounds: int, seconds: float
) -> list[Row]:
    """Compare connections of real programs; none where wrk or nginx is missing, which is said."""
    missing = [name for name in ("wrk", "nginx") if shutil.which(name) is None]
    if missing:
        print(
            f"HTTP is left out: {', '.join(missing)} not found "
            "(apt-get install wrk nginx-light)", file=sys.stderr,
        )  # fmt: skip
        return []
    rows = [
        Row("network: wrk and nginx between two containers", "1/s", "within 3 %"),
        Row("the same", "µs each"),
        Row("network: wrk and nginx through a published port", "1/s", "within 3 %"),
        Row("the same", "µs each"),
    ]

    def measure(one: Setup) -> list[Flow]:
        return [
            http(one, one.client, one.address, _PORT, folder=folder, seconds=seconds),
            http(one, outside, _HOST, one.port, folder=folder, seconds=seconds),
        ]

    return beside_by_hand(rows, engine, measure, rounds)


def throughput_rows(engine: engines.Engine, outside: Sequence[str], rounds: int, seconds: float) -> list[Row]:
    """Compare sampan's network with the hand-made one, in turn."""
    rows = [
        Row("network: iperf3 between two containers", "Gbit/s", "within 3 %"),
        Row("the same", "ms a Gbit"),
        Row("network: iperf3 through a published port", "Gbit/s", "within 3 %"),
        Row("the same", "ms a Gbit"),
        Row("network: connections between two containers", "1/s", "likewise"),
        Row("the same", "µs each"),
        Row("network: connections through a published port", "1/s", "likewise"),
        Row("the same", "µs each"),
    ]

    def measure(one: Setup) -> list[Flow]:
        return [
            throughput(one, one.client, one.address, _PORT, seconds),
            throughput(one, outside, _HOST, one.port, seconds),
            connections(one, one.client, one.address, _PORT),
            connections(one, outside, _HOST, one.port),
        ]

    return beside_by_hand(rows, engine, measure, rounds)


def beside_by_hand(
    rows: list[Row], engine: engines.Engine, measure: Callable[[Setup], list[Flow]], rounds: int
) -> list[Row]:
    """Fill rows, two for each flow, by measuring sampan's set-up and the hand-made one in turn."""
    with ExitStack() as stack:
        setups = {
            "sampan": stack.enter_context(in_sampan(engine)),
            "by hand": stack.enter_context(by_hand()),
        }
        for number in range(rounds):
            for name in sorted(setups, reverse=number % 2 == 1):
                values = [value for flow in measure(setups[name]) for value in (flow.rate, flow.cost)]
                for row, value in zip(rows, values, strict=True):
                    row.values.setdefault(name, []).append(value)
    return rows


def ratios(rows: Sequence[Row]) -> str:
    """Return of each row how many times the hand-made set-up's value ours is, round by round."""
    lines = []
    for row in rows:
        mine, hand = row.values.get("sampan", []), row.values.get("by hand", [])
        found = sorted(one / other for one, other in zip(mine, hand, strict=False))
        if found:
            low, middle, high = (found[len(found) * part // 4] for part in (1, 2, 3))
            lines.append(
                f"{row.name} ({row.unit}): {middle:.3f} times by hand, quartiles {low:.3f} to {high:.3f}"
            )
    return "\n".join(lines)


def start_rows(found: dict[str, engines.Engine], root: Path, rounds: int) -> list[Row]:
    """Time a start with a published port; runc has no network at all, nor has `sampan, none`."""
    own = found["sampan"]
    contestants: Contestants = {"sampan, none": own.run("--rm", "--network", "none", "busybox", "true")}
    for name, engine in found.items():
        network = "podman" if name == "podman" else "bridge"
        contestants[name] = engine.run("--rm", "--network", network, "-p", "18080:80", "busybox", "true")
    bundle = engines.runtime_bundle(root / "bundle")
    contestants["runc"] = (
        "/usr/sbin/runc", "--root", f"{root}/runc", "run", "--bundle", str(bundle), "bench-runc",
    )  # fmt: skip
    what = "network: run --rm -p 18080:80 busybox true"
    row = alternate(Row(what, "ms", "≤ 1/8 of docker, ≤ runc"), contestants, rounds, pause_s=_PAUSE_S)
    return [row, alternate(Row(f"{what}, one after another", "ms"), contestants, rounds)]


def main() -> None:
    """Begin again in a network namespace of our own, and measure there."""
    if not os.environ.get(_INSIDE):
        command = ["unshare", "--net", sys.executable, "-m", "bench.networks", *sys.argv[1:]]
        os.execvpe("unshare", command, {**os.environ, _INSIDE: "1"})
    parser = argparse.ArgumentParser(prog="python -m bench.networks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run of iperf3")
    parser.add_argument("--root", type=Path, default=Path("/var/tmp"), help="where scratch files go")
    parser.add_argument("names", nargs="*", help="throughput, start; both without")
    options = parser.parse_args()
    names = options.names or ["throughput", "http", "start"]
    rows: list[Row] = []
    with ExitStack() as stack:
        root = stack.enter_context(engines.scratch(options.root))
        outside = stack.enter_context(lan())
        own = stack.enter_context(engines.sampan(root / "sampan", bridge=True))
        if "throughput" in names:
            rows += throughput_rows(own, outside, options.rounds, options.seconds)
        if "http" in names:
            rows += http_rows(own, outside, root, options.rounds, options.seconds)
        print(ratios(rows), flush=True)
        if "start" in names:
            found = {"sampan": own}
            makers: list[Callable[[Path], object]] = [_dockerd, engines.podman]
            for maker in makers:
                try:
                    engine: engines.Engine = stack.enter_context(maker(root / maker.__name__))  # type: ignore[arg-type]
                except (OSError, TimeoutError, AssertionError, subprocess.SubprocessError) as exc:
                    print(f"{maker.__name__} left out: {exc}", file=sys.stderr)
                    continue
                found[engine.name] = engine
            rows += start_rows(found, root, options.rounds)
    print(render(rows, options.rounds))
    sys.stdout.flush()


@contextmanager
def _dockerd(root: Path) -> Iterator[engines.Engine]:
    with engines.dockerd(root, bridge=True) as engine:
        yield engine


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
