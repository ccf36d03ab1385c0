"""Queries a second of sampan-dns on one core, by its own CPU time; needs root. `python -m bench.dns`.

Clients in one namespace ask for cached names; what counts is the server's CPU time a query, so that the
client's own cost and a busy machine do not matter.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import tempfile
import time
from pathlib import Path

from tests.system.dns_kit import Box, Upstream, boxes, query, says

from sampan.network.dns.client import Resolver
from sampan.network.dns.model import Endpoint, Network, Server, View

_OTHERS = [f"other{number}" for number in range(20)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder, boxes(Path(folder), "c", *_OTHERS) as (box, *others):
        with Upstream(says("192.0.2.1", ttl=600)) as upstream:
            resolver = Resolver(folder, lambda _name: box.place())
            resolver.put_network(Network(id="n", name="front"))
            for last in range(1, 4):
                name, address = f"c{last}", f"172.18.0.{last}"
                endpoint = Endpoint(network="n", container=name, names=(name, "all"), addresses=(address,))
                resolver.publish(endpoint)
            servers = (Server(address="127.0.0.1", port=upstream.port, from_host=True),)
            place = box.place()
            started = time.perf_counter()
            resolver.serve(View(container="c", networks=("n",), servers=servers), place)
            print(f"start with the first container: {(time.perf_counter() - started) * 1e3:.1f} ms")
            place.close()
            _serve_others(resolver, others)
            pid = int(Path(folder, "dns", "dns.lock").read_text())
            try:
                with box.socket(socket.SOCK_DGRAM) as sock:
                    sock.connect(("127.0.0.11", 53))
                    for text, name in (("one address", "c1"), ("rotating", "all"), ("upstream", "x.example")):
                        for window in (1, 16):
                            _measure(text, sock, query(name), count=count, window=window, pid=pid)
                print(f"memory: {_pss_kib(pid)} KiB PSS")
            finally:
                resolver.close()
                os.kill(pid, signal.SIGKILL)


def _serve_others(resolver: Resolver, others: list[Box]) -> None:
    spent = []
    for number, box in enumerate(others):
        view = View(container=box.name, networks=("n",))
        endpoint = Endpoint(
            network="n", container=box.name, names=(box.name,), addresses=(f"172.18.1.{number}",)
        )
        place = box.place()
        started = time.perf_counter()
        resolver.serve(view, place, endpoints=[endpoint])
        spent.append(time.perf_counter() - started)
        place.close()
    print(f"each further container: {statistics.median(spent) * 1e3:.2f} ms (median of {len(spent)})")


def _measure(text: str, sock: socket.socket, data: bytes, *, count: int, window: int, pid: int) -> None:
    sock.send(data)
    sock.recv(512)
    before, started = _cpu_s(pid), time.perf_counter()
    for _ in range(count // window):
        for _ in range(window):
            sock.send(data)
        for _ in range(window):
            sock.recv(512)
    spent, wall = _cpu_s(pid) - before, time.perf_counter() - started
    print(
        f"{text}, {window} at once: {spent / count * 1e6:.1f} µs CPU a query,"
        f" {count / spent:,.0f} a second and core; {count / wall:,.0f} a second with this client"
    )


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
