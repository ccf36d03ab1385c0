"""sampan-dns asked by real resolvers in real namespaces: names, who sees them, and what it survives."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.dns_kit import Box, addresses_of, boxes, code_of, query, until

from sampan.network.dns import wire
from sampan.network.dns.client import Place, Resolver
from sampan.network.dns.model import Endpoint, Network, View

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Town:
    """Two boxes on one network, one resolver for them."""

    def __init__(self, run_root: str, made: list[Box]) -> None:
        self.boxes = {box.name: box for box in made}
        self.run_root = run_root
        self.resolver = Resolver(run_root, self.open_place)
        self.views = [View(container=box.name, networks=("n1",)) for box in made]
        self.say_names()
        for view in self.views:
            place = self.boxes[view.container].place()
            self.resolver.serve(view, place)
            place.close()

    def say_names(self) -> None:
        self.resolver.put_network(Network(id="n1", name="front", subnets=("172.18.0.0/16",)))
        for last, name in enumerate(self.boxes, start=2):
            self.publish(name, f"172.18.0.{last}")

    def publish(self, name: str, *addresses: str, alias: str = "both") -> None:
        names = (name, alias)
        self.resolver.publish(Endpoint(network="n1", container=name, names=names, addresses=addresses))

    def open_place(self, container: str) -> Place | None:
        return self.boxes[container].place() if container in self.boxes else None

    def dns_pid(self) -> int:
        return int(Path(self.run_root, "dns", "dns.lock").read_text())


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with boxes(tmp_path, "web", "db") as made:
        town = Town(str(tmp_path), made)
        pid = town.dns_pid()
        try:
            yield town
        finally:
            pid = town.dns_pid()
            town.resolver.close()
            os.kill(pid, signal.SIGKILL)
            until(lambda: not os.path.exists(f"/proc/{pid}/exe"), "the end of sampan-dns")


def test_glibc_finds_a_name_and_misses_another_at_once(town: Town) -> None:
    web = town.boxes["web"]
    assert web.getaddrinfo("db") == ["172.18.0.3"]
    assert web.getaddrinfo("DB.front") == ["172.18.0.3"]
    started = time.monotonic()
    assert web.getaddrinfo("nobody") == socket.EAI_NONAME
    assert time.monotonic() - started < 2.0  # the program's start included


def test_busybox_asks_forwards_and_backwards(town: Town) -> None:
    result = town.boxes["db"].run("busybox", "nslookup", "web")
    assert "Address: 172.18.0.2" in result.stdout, result.stdout + result.stderr
    result = town.boxes["db"].run("busybox", "nslookup", "172.18.0.2")
    assert "web.front" in result.stdout, result.stdout + result.stderr
    result = town.boxes["db"].run("busybox", "nslookup", "nobody")
    assert result.returncode != 0
    assert "NXDOMAIN" in result.stdout + result.stderr


def test_tcp_gives_what_udp_must_cut(town: Town) -> None:
    for last in range(10, 70):
        endpoint = Endpoint(
            network="n1", container=f"c{last}", names=("many",), addresses=(f"172.18.1.{last}",)
        )
        town.resolver.publish(endpoint)
    web = town.boxes["web"]
    short = web.ask(query("many"))
    assert len(short) <= 512
    assert short[2] & 0x02
    assert len(addresses_of(web.ask(query("many"), tcp=True))) == 60
    assert len(addresses_of(web.ask(query("many", edns=4096)))) == 60
    assert len(web.getaddrinfo("many", "AF_INET")) == 60


def test_each_address_leads_equally_often(town: Town) -> None:
    leaders = Counter(addresses_of(town.boxes["web"].ask(query("both")))[0] for _ in range(20))
    assert leaders == {"172.18.0.2": 10, "172.18.0.3": 10}


def test_a_name_without_address_of_that_kind_is_no_error(town: Town) -> None:
    answer = town.boxes["web"].ask(query("db", wire.AAAA))
    assert (code_of(answer), answer[6:8]) == (wire.NOERROR, b"\0\0")
    assert code_of(town.boxes["web"].ask(query("x.y", wire.AAAA))) == wire.NXDOMAIN


def test_changes_are_seen_at_once(town: Town) -> None:
    web = town.boxes["web"]
    assert addresses_of(web.ask(query("db"))) == ["172.18.0.3"]
    town.publish("db", "172.18.0.99")
    assert addresses_of(web.ask(query("db"))) == ["172.18.0.99"]
    town.resolver.withdraw("n1", "db")
    assert code_of(web.ask(query("db"))) == wire.NXDOMAIN
    town.resolver.change(View(container="web", networks=()))
    assert code_of(web.ask(query("web"))) == wire.NXDOMAIN
    assert addresses_of(town.boxes["db"].ask(query("web"))) == ["172.18.0.2"]


def test_it_answers_while_sampand_is_away_and_is_found_again(town: Town) -> None:
    pid = town.dns_pid()
    town.resolver.close()
    assert addresses_of(town.boxes["web"].ask(query("db"))) == ["172.18.0.3"]
    town.resolver = Resolver(town.run_root, town.open_place)
    town.resolver.put_network(Network(id="n1", name="front"))
    town.publish("web", "172.18.0.2")
    town.resolver.restore(town.views[:1])
    assert town.dns_pid() == pid
    assert addresses_of(town.boxes["web"].ask(query("web"))) == ["172.18.0.2"]
    assert code_of(town.boxes["web"].ask(query("db"))) == wire.NXDOMAIN  # was not said again
    assert town.boxes["db"].ask(query("web")) == b""  # nor was this container


def test_killed_it_comes_back_with_everything(town: Town) -> None:
    pid = town.dns_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: town.boxes["web"].ask(query("db")) == b"", "its sockets close")
    town.resolver.heal()
    assert town.dns_pid() != pid
    assert addresses_of(town.boxes["web"].ask(query("db"))) == ["172.18.0.3"]
    assert addresses_of(town.boxes["db"].ask(query("web"))) == ["172.18.0.2"]


def test_killed_it_is_replaced_by_the_next_change(town: Town) -> None:
    os.kill(town.dns_pid(), signal.SIGKILL)
    until(lambda: town.boxes["web"].ask(query("db")) == b"", "its sockets close")
    town.publish("db", "172.18.0.50")
    assert addresses_of(town.boxes["web"].ask(query("db"))) == ["172.18.0.50"]


def test_a_dead_container_lets_its_namespace_go(town: Town) -> None:
    pid = town.dns_pid()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    town.boxes["db"].end()
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before - 3, "UDP, TCP and pidfd are closed")
    assert addresses_of(town.boxes["web"].ask(query("db"))) == ["172.18.0.3"]


def test_nobody_needs_it_any_more(town: Town) -> None:
    pid = town.dns_pid()
    town.resolver.stop("web")
    town.resolver.stop("db")
    assert town.boxes["web"].ask(query("db")) == b""
    assert os.path.exists(f"/proc/{pid}/exe")
    town.resolver.close()
    assert not os.path.exists(f"/proc/{pid}/exe")
    town.resolver = Resolver(town.run_root, town.open_place)
    town.say_names()
    place = town.boxes["web"].place()
    town.resolver.serve(town.views[0], place)
    place.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_dns_server_in_the_container_can_have_port_53(town: Town, kind: int) -> None:
    web = town.boxes["web"]
    with web.socket(kind) as sock:
        sock.bind(("0.0.0.0", 53))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        assert addresses_of(web.ask(query("db"), tcp=kind == socket.SOCK_STREAM)) == ["172.18.0.3"]
        with web.socket(kind) as other:
            other.settimeout(5)
            other.connect(("127.0.0.1", 53))
            other.send(b"mine")
            served = sock.accept()[0] if kind == socket.SOCK_STREAM else sock
            assert served.recv(10) == b"mine"
            if served is not sock:
                served.close()


def test_the_loopback_device_may_come_up_later(town: Town) -> None:
    assert town.boxes["web"].run("ip", "link", "set", "lo", "down").returncode == 0
    town.resolver.stop("web")
    place = town.boxes["web"].place()
    town.resolver.serve(town.views[0], place)
    place.close()
    assert town.boxes["web"].run("ip", "link", "set", "lo", "up").returncode == 0
    assert addresses_of(town.boxes["web"].ask(query("db"))) == ["172.18.0.3"]


def test_connections_of_the_container_are_not_tracked(town: Town) -> None:
    assert addresses_of(town.boxes["web"].ask(query("db"))) == ["172.18.0.3"]
    counted = town.boxes["web"].run("cat", "/proc/sys/net/netfilter/nf_conntrack_count")
    assert counted.stdout.strip() in ("0", "")  # "": the kernel's module was never needed
