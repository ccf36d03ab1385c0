"""Questions that go upstream: which servers, from which namespace, and what their failures cost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.dns_kit import Box, Upstream, addresses_of, boxes, code_of, query, says, until

from sampan.network.dns import wire
from sampan.network.dns.client import Resolver
from sampan.network.dns.model import Network, Server, View

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Client:
    """One box whose view can be given other servers."""

    def __init__(self, run_root: str, box: Box) -> None:
        self.box = box
        self.run_root = run_root
        self.resolver = Resolver(run_root, lambda _name: box.place())
        self.resolver.put_network(Network(id="n1", name="front", subnets=("172.18.0.0/16",)))
        place = box.place()
        self.resolver.serve(View(container="c", networks=("n1",)), place)
        place.close()

    def use(self, *servers: Server) -> None:
        self.resolver.change(View(container="c", networks=("n1",), servers=servers))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with boxes(tmp_path, "c") as (box,):
        client = Client(str(tmp_path), box)
        try:
            yield client
        finally:
            client.resolver.close()
            pid = int((tmp_path / "dns" / "dns.lock").read_text())
            os.kill(pid, signal.SIGKILL)
            until(lambda: not os.path.exists(f"/proc/{pid}/exe"), "the end of sampan-dns")


def on_host(upstream: Upstream) -> Server:
    return Server(address="127.0.0.1", port=upstream.port, from_host=True)


def silent(_data: bytes, _kind: str) -> None:
    return None


def test_the_hosts_server_is_asked_from_the_host(client: Client) -> None:
    with Upstream(says("192.0.2.1")) as upstream:
        client.use(on_host(upstream))
        assert client.box.getaddrinfo("example.org", "AF_INET") == ["192.0.2.1"]
        assert addresses_of(client.box.ask(query("example.org"), tcp=True)) == ["192.0.2.1"]
        assert [kind for kind, _ in upstream.seen] == ["udp", "tcp"]


def test_a_server_of_the_user_is_asked_from_the_container(client: Client) -> None:
    with Upstream(says("192.0.2.2"), client.box) as upstream:
        client.use(Server(address="127.0.0.1", port=upstream.port))
        assert client.box.getaddrinfo("example.org", "AF_INET") == ["192.0.2.2"]
        assert addresses_of(client.box.ask(query("example.org"), tcp=True)) == ["192.0.2.2"]


def test_edns_goes_along_and_a_cut_answer_comes_back_cut(client: Client) -> None:
    def cut(data: bytes, kind: str) -> bytes:
        answer = bytearray(says("192.0.2.3")(data, kind))
        answer[2] |= 0x02 if kind == "udp" else 0
        return bytes(answer)

    with Upstream(cut) as upstream:
        client.use(on_host(upstream))
        assert client.box.ask(query("a.example", edns=1232))[2] & 0x02
        assert wire.parse_query(upstream.seen[0][1]).size == 1232
        assert client.box.getaddrinfo("a.example", "AF_INET") == ["192.0.2.3"]  # by TCP in the end


def test_the_number_upstream_is_another_and_comes_back(client: Client) -> None:
    with Upstream(says("192.0.2.1")) as upstream:
        client.use(on_host(upstream))
        assert client.box.ask(query("a.example", number=4711))[:2] == (4711).to_bytes(2, "big")
        assert len({data[:2] for _, data in upstream.seen}) == 1
        assert upstream.seen[0][1][:2] != (4711).to_bytes(2, "big")


@pytest.mark.parametrize("code", [wire.SERVFAIL, wire.REFUSED])
def test_a_server_that_refuses_is_followed_by_the_next_at_once(client: Client, code: int) -> None:
    with Upstream(says("", code=code)) as bad, Upstream(says("192.0.2.5")) as good:
        client.use(on_host(bad), on_host(good))
        started = time.monotonic()
        assert addresses_of(client.box.ask(query("a.example"))) == ["192.0.2.5"]
        assert time.monotonic() - started < 1.0
        client.use(on_host(bad))
        assert code_of(client.box.ask(query("b.example"))) == code


def test_a_closed_port_is_followed_by_the_next_at_once(client: Client) -> None:
    with Upstream(silent) as upstream:
        closed = on_host(upstream)
    with Upstream(says("192.0.2.5")) as good:
        client.use(closed, on_host(good))
        started = time.monotonic()
        assert addresses_of(client.box.ask(query("a.example"))) == ["192.0.2.5"]
        assert addresses_of(client.box.ask(query("b.example"), tcp=True)) == ["192.0.2.5"]
        client.use(closed)
        assert code_of(client.box.ask(query("a.example"))) == wire.SERVFAIL
        assert time.monotonic() - started < 1.5


def test_a_silent_server_costs_its_time_once(client: Client) -> None:
    with Upstream(silent) as bad, Upstream(says("192.0.2.5")) as good:
        client.use(on_host(bad), on_host(good))
        started = time.monotonic()
        assert addresses_of(client.box.ask(query("a.example"))) == ["192.0.2.5"]
        assert 1.0 < time.monotonic() - started < 3.5
        started = time.monotonic()
        assert addresses_of(client.box.ask(query("b.example"))) == ["192.0.2.5"]
        assert time.monotonic() - started < 1.0
        assert len(bad.seen) == 1


def test_only_silence_is_an_error_within_what_clients_wait(client: Client) -> None:
    with Upstream(silent) as upstream:
        client.use(on_host(upstream))
        started = time.monotonic()
        assert code_of(client.box.ask(query("a.example"))) == wire.SERVFAIL
        assert 3.0 < time.monotonic() - started < 5.5
        assert len(upstream.seen) == 3  # asked again: a datagram may have been lost
        assert "upstream server does not answer" in Path(client.run_root, "dns", "dns.log").read_text()


def test_a_wrong_answer_is_not_taken(client: Client) -> None:
    def spoofed(data: bytes, kind: str) -> bytes:
        answer = says("192.0.2.66")(data, kind)
        return b"\0\0" + answer[2:] if data[:2] != b"\0\0" else b"\1\1" + answer[2:]

    with Upstream(spoofed) as bad, Upstream(says("192.0.2.5")) as good:
        client.use(on_host(bad), on_host(good))
        assert addresses_of(client.box.ask(query("a.example"))) == ["192.0.2.5"]


def test_answers_are_kept_as_long_as_they_say(client: Client) -> None:
    with Upstream(says("192.0.2.1", ttl=60)) as upstream:
        client.use(on_host(upstream))
        for _ in range(3):
            assert addresses_of(client.box.ask(query("kept.example"))) == ["192.0.2.1"]
        assert len(upstream.seen) == 1
        upstream.handle = says("192.0.2.2", ttl=0)
        for _ in range(3):
            assert addresses_of(client.box.ask(query("other.example"))) == ["192.0.2.2"]
        assert len(upstream.seen) == 4


def test_a_loop_through_the_container_ends_by_itself(client: Client) -> None:
    def back(data: bytes, _kind: str) -> bytes | None:
        return client.box.ask(data, timeout_s=6) or None

    with Upstream(back) as upstream:
        client.use(on_host(upstream))
        assert code_of(client.box.ask(query("loop.example"), timeout_s=8)) == wire.SERVFAIL
        assert len(upstream.seen) <= 3


def test_many_who_ask_the_same_are_one_question(client: Client) -> None:
    asking = threading.Barrier(9)

    def ask(_index: int) -> bytes:
        asking.wait()
        return client.box.ask(query("same.example"))

    def slowly(data: bytes, kind: str) -> bytes:
        threading.Event().wait(0.3)  # all have asked by then; if not, one more question is no failure
        return says("192.0.2.1")(data, kind)

    with Upstream(slowly) as upstream, ThreadPoolExecutor(8) as threads:
        client.use(on_host(upstream))
        futures = [threads.submit(ask, index) for index in range(8)]
        asking.wait()
        assert all(addresses_of(future.result()) == ["192.0.2.1"] for future in futures)
        assert len(upstream.seen) < 8
