"""What is taken away by hand comes back; old flows do not reach new containers; errors say who and what."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from tests.system.network_host import HOST, NetworkHost, idle, serve, settings
from tests.system.sampand import needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
_LISTEN = """
import socket, time
sock = socket.create_server(("0.0.0.0", 9000))
print("ready", flush=True)
time.sleep(60)
"""
# Sends from one port for as long as it takes, so that the kernel sees one flow.
_CHATTER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 5555))
sock.settimeout(0.3)
for number, line in enumerate(sys.stdin):
    answer = "nobody"
    for _ in range(4):
        try:
            sock.sendto(b"%d" % number, ("192.0.2.1", 8053))
            while True:  # an answer that comes late is to an earlier question
                name, _, asked = sock.recv(100).decode().partition(" ")
                if asked == str(number):
                    answer = name
                    break
            break
        except OSError:
            continue
    print(answer, flush=True)
"""

_ANSWER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 53))
while True:
    question, sender = sock.recvfrom(100)
    sock.sendto(sys.argv[1].encode() + b" " + question, sender)
"""


_ANSWER_WEB = """
import socket
sock = socket.create_server(("0.0.0.0", 80))
print("ready", flush=True)
while True:
    peer, _ = sock.accept()
    peer.recv(1000)
    peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nold")
    peer.close()
"""

# Each datagram is a connection of its own for the kernel.
_FLOWS = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1000):
    sock.sendto(b"x", ("127.0.0.1", 1024 + port))
"""
_TABLE = """
from sampan.network.tracking import read_table
table = read_table()
print(table.entries, table.limit, table.dropped)
"""


def bridge_of(net: NetworkHost, network: str) -> str:
    [shown] = json.loads(net.cli("network", "inspect", network))
    return str(shown["Options"].get("com.docker.network.bridge.name") or f"br-{shown['Id'][:12]}")


def pairs(net: NetworkHost) -> list[str]:
    return [name for name in net.on_host("ls", "/proc/sys/net/ipv4/conf").text.split() if name[:2] == "sv"]


@pytest.mark.parametrize("network", ["bridge", "mine"])
def test_bridge_removed_under_containers(net: NetworkHost, network: str) -> None:
    net.cli("network", "create", "--ipv6", "mine")
    serve(net, "web", "--network", network, "-p", "8080:80")
    idle(net, "other", "--network", network)
    address = settings(net, "web")["Networks"][network]["IPAddress"]
    assert net.on_host("ip", "link", "delete", bridge_of(net, network)).code == 0
    wait_for(lambda: net.fetch(HOST, 8080, lan="lan") == "hi", "the port is reached again", 5)
    wait_for(lambda: net.fetch_from("other", address, 80) == "hi", "they meet again", 5)


def test_pair_removed_under_a_container(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv6", "mine")
    serve(net, "web", "--network", "mine", "-p", "8080:80")
    before = settings(net, "web")["Networks"]["mine"]
    [pair] = pairs(net)
    assert net.on_host("ip", "link", "delete", pair).code == 0
    wait_for(lambda: net.fetch(HOST, 8080, lan="lan") == "hi", "it is reached again", 5)
    assert settings(net, "web")["Networks"]["mine"] == before
    assert net.docker("exec", "web", "ping", "-c", "1", "-W", "20", "192.0.2.9").code == 0
    assert f"{before['GlobalIPv6Address']}/64" in net.cli("exec", "web", "ip", "-6", "addr")
    net.remove_containers()
    wait_for(lambda: pairs(net) == [], "nothing is left")


def test_a_namespace_that_somebody_holds_loses_its_interface(net: NetworkHost) -> None:
    idle(net, "gone")
    idle(net, "other")
    address = settings(net, "gone")["Networks"]["bridge"]["IPAddress"]
    space = f"--net=/proc/{net.cli('inspect', '-f', '{{.State.Pid}}', 'gone')}/ns/net"
    with run_in(space, _ANSWER_WEB) as holder:
        assert holder.stdout.readline() == "ready\n"
        assert net.fetch_from("other", address, 80) == "old"
        net.cli("rm", "-f", "gone")
        serve(net, "heir")  # gets the address
        assert settings(net, "heir")["Networks"]["bridge"]["IPAddress"] == address
        assert net.fetch_from("other", address, 80) == "hi"
        wait_for(lambda: len(pairs(net)) == 2, "the first pair is gone", 5)
        assert net.fetch_from("other", address, 80) == "hi"


def test_an_old_flow_does_not_reach_a_new_container(net: NetworkHost) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(run_in(f"--net=/run/netns/{net.spaces[1]}", _CHATTER))

        def ask() -> str:
            client.stdin.write("\n")
            client.stdin.flush()
            return client.stdout.readline().strip()

        assert ask() == "nobody"  # this flow is to the host itself
        for name in ("first", "second"):
            idle(net, name, "-p", "8053:53/udp")
            pid = net.cli("inspect", "-f", "{{.State.Pid}}", name)
            stack.enter_context(run_in(f"--net=/proc/{pid}/ns/net", _ANSWER, name))
            wait_for(lambda name=name: ask() == name, f"{name} answers")  # type: ignore[misc]  # mypy: default
            net.cli("rm", "-f", name)
            idle(net, f"heir-of-{name}")  # gets the address
            assert ask() == "nobody"


@contextmanager
def run_in(space: str, code: str, *arguments: str) -> Iterator[Any]:
    """Run a program of ours in a network namespace."""
    command = ["nsenter", space, "--", sys.executable, "-I", "-S", "-c", code, *arguments]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def test_the_table_of_connections_is_read(net: NetworkHost) -> None:
    """What sampand does about a full one: `tools/campaign full-table`."""
    serve(net, "web", "-p", "8080:80")  # nothing is tracked before the first network
    net.on_host(sys.executable, "-I", "-S", "-c", _FLOWS)
    entries, limit, dropped = map(int, net.on_host(sys.executable, "-c", _TABLE).text.split())
    assert 1000 <= entries < 2000
    assert limit == int(net.on_host("sysctl", "-n", "net.netfilter.nf_conntrack_max").text)
    assert dropped == 0
    assert net.sampan("system", "check").code == 0


def test_port_of_a_program(net: NetworkHost) -> None:
    with run_in(f"--net=/run/netns/{net.spaces[0]}", _LISTEN) as program:
        assert program.stdout.readline() == "ready\n"
        done = net.sampan("run", "--rm", "-p", "9000:80", "busybox", "true")
    assert "failed to bind host port 0.0.0.0:9000/tcp: address already in use" in done.err
    assert f"(pid {program.pid}) has it" in done.err
    away = net.sampan("run", "--rm", "-p", "203.0.113.7:9000:80", "busybox", "true")
    assert "the host has no such address" in away.err


def test_refusals_change_nothing(net: NetworkHost) -> None:
    before = net.cli("network", "ls", "-q")
    net.on_host("ip", "route", "add", "10.55.0.0/16", "dev", "out")
    net.on_host("ip", "route", "add", "10.56.0.0/16", "via", "192.0.2.9")
    for flags, text in (
        (["--subnet", "10.55.1.0/24"], "overlaps 10.55.0.0/16 at interface out of the host"),
        (["--subnet", "192.0.2.0/28"], "overlaps 192.0.2.0/24 at interface out of the host"),
        (["--ipv6", "--subnet", "2001:db8::/56"], "overlaps 2001:db8::/64 at interface out of the host"),
        (["--subnet", "172.17.5.0/24"], "Pool overlaps with other one on this address space"),
        (["-o", "com.docker.network.driver.mtu=nonsense"], "invalid MTU 'nonsense'"),
        (["-o", "com.docker.network.driver.mtu=67"], "invalid MTU '67'"),
        (
            ["--subnet", "10.1.0.0/24", "--subnet", "10.1.0.0/16"],
            "multiple overlapping subnet configuration is not supported",
        ),
        (["--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1"], "10.2.0.1"),
        (["--driver", "nonsense"], "could not find plugin nonsense"),
    ):
        done = net.docker("network", "create", *flags, "refused")
        assert done.code != 0, flags
        assert text in done.err
    assert net.cli("network", "ls", "-q") == before
    net.cli("network", "create", "--subnet", "10.56.1.0/24", "inside-a-route")  # the more special route wins


def test_pool_exhausted(net: NetworkHost) -> None:
    net.cli("network", "create", "--subnet", "10.66.0.0/30", "small")
    idle(net, "first", "--network", "small")
    full = net.docker("run", "--name", "second", "--network", "small", "busybox", "true")
    assert "no available IPv4 addresses on this network's address pools: small" in full.err
    net.cli("rm", "-f", "first")
    assert net.docker("start", "-a", "second").code == 0


def test_a_full_bridge(net: NetworkHost) -> None:
    """The kernel gives a bridge 1,023 ports: containers beyond are refused in words, and leave nothing."""
    net.cli(
        "network", "create", "--subnet", "10.66.0.0/16", "-o", "com.docker.network.bridge.name=full", "full"
    )
    idle(net, "web", "--network", "full")
    pairs = [
        (f"link add fill{one} type veth peer name more{one}", f"fill{one}", f"more{one}")
        for one in range(511)
    ]
    lines = [
        line
        for add, *ends in pairs
        for line in (add, *(f"link set {end} master full group 7" for end in ends))
    ]
    filled = net.on_host("sh", "-c", "printf '" + "\\n".join(lines) + "\\n' | ip -batch -")
    assert filled.code == 0, filled.err
    refused = net.docker("run", "--rm", "--network", "full", "busybox", "true")
    assert "network full is full: a bridge has 1,023 ports at most" in refused.err
    assert len(json.loads(net.cli("network", "inspect", "full"))[0]["Containers"]) == 1
    net.on_host("ip", "link", "delete", "group", "7")
    net.cli("run", "--rm", "--network", "full", "busybox", "true")


def test_ports_that_are_free_again(net: NetworkHost) -> None:
    with socket.socket():
        taken = net.docker(
            "run", "-d", "--name", "one", "-p", "9100:80", "-p", "192.0.2.200:9101:81", "busybox", "true"
        )
    assert "192.0.2.200:9101" in taken.err
    net.cli("rm", "-f", "one")
    idle(net, "two", "-p", "9100:80")  # the first port was given back
