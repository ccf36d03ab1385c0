"""Each replica is met equally often, whatever the client does with the order of an answer."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.dns_kit import Box, boxes, until

from sampan.network.dns.client import Resolver
from sampan.network.dns.model import Endpoint, Network, View

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

REPLICAS = 4
ROUNDS = 4 * REPLICAS
# As sampan's bridges do it: the address alone, and a route for its subnet.
DEVICE = (
    "ip link add eth0 type veth peer name eth1 && ip link set eth1 up && ip link set eth0 up &&"
    " ip addr add 172.18.0.2/{prefix} dev eth0 && ip addr add fd00::2/64 dev eth0 nodad &&"
    " ip route replace 172.18.0.0/16 dev eth0 src 172.18.0.2 &&"
)


@pytest.fixture
def client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Box]:
    prefix = getattr(request, "param", 32)
    with boxes(tmp_path, "client", more=DEVICE.format(prefix=prefix)) as (box,):
        resolver = Resolver(str(tmp_path), lambda _name: box.place())
        resolver.put_network(Network(id="n", name="front", subnets=("172.18.0.0/16", "fd00::/64")))
        resolver.publish(_endpoint("client", 2, "client"))
        for last in range(3, 3 + REPLICAS):
            resolver.publish(_endpoint(f"r{last}", last, "service"))
        place = box.place()
        resolver.serve(View(container="client", networks=("n",)), place)
        place.close()
        try:
            yield box
        finally:
            resolver.close()
            pid = int((tmp_path / "dns" / "dns.lock").read_text())
            os.kill(pid, signal.SIGKILL)
            until(lambda: not os.path.exists(f"/proc/{pid}/exe"), "the end of sampan-dns")


def _endpoint(container: str, last: int, name: str) -> Endpoint:
    addresses = (f"172.18.0.{last}", f"fd00::{last}")
    return Endpoint(network="n", container=container, names=(name,), addresses=addresses)


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNSPEC"])
def test_glibc_meets_each_replica_equally_often(client: Box, family: str) -> None:
    found = client.getaddrinfo("service", family, times=ROUNDS)
    leaders = Counter(answer[0] for answer in found)
    assert len(leaders) == REPLICAS, leaders
    assert set(leaders.values()) == {ROUNDS // REPLICAS}, leaders


@pytest.mark.parametrize("client", [16], indirect=True)
def test_with_the_subnets_prefix_glibc_would_undo_the_rotation(client: Box) -> None:
    """Why the address is a /32: if this fails, glibc has changed."""
    found = client.getaddrinfo("service", "AF_INET", times=ROUNDS)
    assert {answer[0] for answer in found} == {"172.18.0.3"}


def test_all_ipv4_addresses_are_in_every_answer(client: Box) -> None:
    for answer in client.getaddrinfo("service", "AF_INET", times=ROUNDS):
        assert len(set(answer)) == REPLICAS
