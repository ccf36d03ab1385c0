"""Who reaches what: peers, ports, IPv4 and IPv6, kinds of network; and what is documented of each cell.

A cell is (kind, peer, target, family). Each kind of network has one server with three ports: 80 is published
at every address, 81 at the loopback, 82 not at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from tests.system.network_host import NetworkHost

Cell = tuple[str, str, str, str]
PREFIX = "com.docker.network.bridge."
KINDS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "no icc": ("-o", f"{PREFIX}enable_icc=false"),
    "internal": ("--internal",),
    "routed": ("-o", f"{PREFIX}gateway_mode_ipv4=routed", "-o", f"{PREFIX}gateway_mode_ipv6=routed"),
    "unprotected": (
        *("-o", f"{PREFIX}gateway_mode_ipv4=nat-unprotected"),
        *("-o", f"{PREFIX}gateway_mode_ipv6=nat-unprotected"),
    ),
    "trusted": ("-o", f"{PREFIX}trusted_host_interfaces=out:lo"),
}
PEERS = ("host", "lan", "same", "other", "inner")  # inner: a container on another, internal network
TARGETS = ("published", "at loopback", "loopback elsewhere", "own published", "own loopback", "own closed")
FAMILIES = ("ipv4", "ipv6")
_SERVE = (
    "mkdir /www; echo {name} >/www/index.html; "
    "for port in 80 81 82; do httpd -h /www -p $port; done; sleep 1000"
)
_PROBE = """
import asyncio, json, sys
async def fetch(address, port):
    try:
        async with asyncio.timeout(1.5):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
            answer = (await reader.read()).decode().strip().rpartition("\\n")[2]
            writer.close()
            return answer
    except (OSError, TimeoutError):
        return ""
async def all_of(targets):
    return await asyncio.gather(*(fetch(*target) for target in targets))
print(json.dumps(asyncio.run(all_of(json.loads(sys.argv[1])))))
"""


class Place(Protocol):
    """An engine in a namespace that stands for a host, with a neighbour beyond a wire."""

    spaces: list[str]  # of the host and of the neighbour
    hosts: Mapping[str, str]  # the host's addresses by family

    def cli(self, *arguments: str) -> str:
        """Run the docker command; return what it prints, or raise."""


@dataclass(frozen=True)
class Server:
    """What answers in one kind of network."""

    kind: str
    number: int
    addresses: Mapping[str, str]

    def target(self, name: str, family: str, host: str) -> tuple[str, int]:
        loopback = "127.0.0.1" if family == "ipv4" else "::1"
        own = self.addresses[family]
        return {
            "published": (host, 8000 + self.number),
            "at loopback": (loopback, 8100 + self.number),
            "loopback elsewhere": (host, 8100 + self.number),
            "own published": (own, 80),
            "own loopback": (own, 81),
            "own closed": (own, 82),
        }[name]


def expected(cell: Cell, *, loopback6: bool) -> bool:
    """Tell what docs/networks.md says of a cell; loopback6: see `reaches_loopback6`."""
    kind, peer, target, family = cell
    if target.startswith("own"):
        if peer == "host":
            return True
        if peer == "same":
            return kind != "no icc"
        if kind == "routed":
            return target != "own closed" and peer != "inner"
        if peer == "lan":
            return kind == "unprotected" or (kind == "trusted" and target != "own closed")
        return False
    if kind in ("internal", "routed") or peer == "inner":
        return False
    if target == "at loopback":
        return peer == "host" and (family == "ipv4" or loopback6)
    return target == "published" and not (kind == "no icc" and peer == "same")


def reaches_loopback6(host: NetworkHost) -> bool:
    """Tell whether ports at ::1 are reached: not where frames on bridges pass the host's rules."""
    return host.on_host("sysctl", "-n", "net.bridge.bridge-nf-call-ip6tables").text != "1"


def measure(place: Place, kinds: Iterable[str], families: Iterable[str]) -> dict[Cell, bool]:
    """Set everything up in an engine, ask every cell, take it away."""
    kinds, families = list(kinds), list(families)
    ipv6 = "ipv6" in families
    try:
        servers = [_serve(place, kind, number, ipv6=ipv6) for number, kind in enumerate(kinds)]
        for name, flags in (("far", ()), ("deep", ("--internal",))):
            _network(place, f"matrix-{name}", 90 if flags else 91, *flags, ipv6=ipv6)
            place.cli(
                "run",
                "-d",
                "--name",
                f"matrix-{name}",
                "--network",
                f"matrix-{name}",
                "busybox",
                "sleep",
                "1000",
            )
        _route_from_lan(place, servers)
        jobs = [(server, peer) for server in servers for peer in PEERS]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda job: _ask(place, *job, families), jobs))
        return {cell: reached for some in answers for cell, reached in some.items()}
    finally:
        _remove(place)


def _network(place: Place, name: str, number: int, *flags: str, ipv6: bool) -> None:
    subnets = ["--subnet", f"10.77.{number}.0/24"]
    subnets += ["--ipv6", "--subnet", f"fd77:{number}::/64"] if ipv6 else []
    place.cli("network", "create", *subnets, *flags, name)


def _serve(place: Place, kind: str, number: int, *, ipv6: bool) -> Server:
    name = f"matrix-{number}"
    _network(place, name, number, *KINDS[kind], ipv6=ipv6)
    ports = ["-p", f"{8000 + number}:80", "-p", f"127.0.0.1:{8100 + number}:81"]
    ports += ["-p", f"[::1]:{8100 + number}:81"] if ipv6 else []
    place.cli(
        "run",
        "-d",
        "--name",
        name,
        "--network",
        name,
        *ports,
        "busybox",
        "sh",
        "-c",
        _SERVE.format(name=name),
    )
    place.cli("run", "-d", "--name", f"{name}-same", "--network", name, "busybox", "sleep", "1000")
    found = json.loads(place.cli("inspect", "-f", "{{json .NetworkSettings.Networks}}", name))[name]
    return Server(kind, number, {"ipv4": found["IPAddress"], "ipv6": found["GlobalIPv6Address"]})


def _route_from_lan(place: Place, servers: list[Server]) -> None:
    """Let the neighbour send to containers' own addresses by way of the host."""
    for server in servers:
        for family, address in server.addresses.items():
            if address:
                route = ["ip", "-n", place.spaces[1], "route", "add", address, "via", place.hosts[family]]
                subprocess.run(route, check=True)


def _ask(place: Place, server: Server, peer: str, families: list[str]) -> dict[Cell, bool]:
    cells = [(server.kind, peer, target, family) for family in families for target in TARGETS]
    targets = [server.target(target, family, place.hosts[family]) for _, _, target, family in cells]
    answers = _probe(place, server, peer, targets)
    return {cell: answer == f"matrix-{server.number}" for cell, answer in zip(cells, answers, strict=True)}


def _probe(place: Place, server: Server, peer: str, targets: list[tuple[str, int]]) -> list[str]:
    if peer in ("host", "lan"):
        inside = [f"--net=/run/netns/{place.spaces[PEERS.index(peer)]}"]
    else:
        name = {"same": f"matrix-{server.number}-same", "other": "matrix-far", "inner": "matrix-deep"}[peer]
        inside = ["-t", place.cli("inspect", "-f", "{{.State.Pid}}", name), "-n"]
    command = ["nsenter", *inside, "--", sys.executable, "-I", "-S", "-c", _PROBE, json.dumps(targets)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answers: list[str] = json.loads(done.stdout)
    return answers


def _remove(place: Place) -> None:
    names = place.cli("ps", "-a", "--filter", "name=matrix-", "--format", "{{.Names}}").split()
    if names:
        place.cli("rm", "-f", *names)
    networks = place.cli("network", "ls", "--filter", "name=matrix-", "--format", "{{.Name}}").split()
    if networks:
        place.cli("network", "rm", *networks)
