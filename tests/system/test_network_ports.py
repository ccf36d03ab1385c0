"""Ports that change while a container runs, where they are published by default, and every protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.system.network_host import HOST, NetworkHost, idle
from tests.system.postgres import ENVIRONMENT, load_postgres, needs_postgres
from tests.system.sampand import needs_busybox, needs_root, wait_for

SERVER = "echo hi >/tmp/index.html; exec httpd -f -h /tmp -p 80"
pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def net_options() -> tuple[str, ...]:
    return ("--ip=127.0.0.1",)


def serve(net: NetworkHost, name: str, *flags: str) -> None:
    done = net.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", SERVER)
    assert done.code == 0, done.err
    wait_for(lambda: net.docker("exec", name, "nc", "-w", "1", "127.0.0.1", "80").code == 0, "it listens")


def ports(net: NetworkHost, name: str) -> list[str]:
    return net.sampan("port", name).text.splitlines()


def update(net: NetworkHost, *words: str) -> str:
    done = net.sampan("update", *words)
    assert done.code == 0, done.err
    return done.text


def test_publish_live(net: NetworkHost) -> None:
    serve(net, "web", "-p", f"{HOST}:8080:80")
    update(net, "--publish-add", f"{HOST}:8081:80", "--publish-add", f"{HOST}:8082:81", "web")
    assert ports(net, "web") == [
        f"80/tcp -> {HOST}:8080",
        f"80/tcp -> {HOST}:8081",
        f"81/tcp -> {HOST}:8082",
    ]
    assert net.fetch(HOST, 8081, lan="lan") == "hi"
    update(net, "--publish-rm", "8080:80", "web")
    assert net.fetch(HOST, 8080, lan="lan") == ""
    assert net.fetch(HOST, 8081, lan="lan") == "hi"
    serve(net, "next", "-p", f"{HOST}:8080:80")  # the port is free again
    update(net, "--publish-rm", "80", "--publish-add", f"{HOST}:8085:80", "web")  # at one stroke
    assert net.fetch(HOST, 8085, lan="lan") == "hi"
    net.kill()
    net.start("--ip=127.0.0.1")
    assert ports(net, "web") == [f"80/tcp -> {HOST}:8085", f"81/tcp -> {HOST}:8082"]
    assert net.fetch(HOST, 8085, lan="lan") == "hi"
    assert net.docker("restart", "-t", "0", "web").code == 0
    assert ports(net, "web") == [f"80/tcp -> {HOST}:8085", f"81/tcp -> {HOST}:8082"]


def test_chosen_ports(net: NetworkHost) -> None:
    """A port of the host that we chose is found by its number."""
    serve(net, "web", "-p", "80")
    update(net, "--publish-add", "80", "web")
    first, second = (line.rpartition(":")[2] for line in ports(net, "web"))
    assert first != second
    update(net, "--publish-rm", f"{first}:80", "web")
    assert ports(net, "web") == [f"80/tcp -> 127.0.0.1:{second}"]
    assert net.docker("restart", "-t", "0", "web").code == 0
    assert len(ports(net, "web")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--publish-rm", "8099:80"], "container web does not publish 80/tcp at 8099"),
        (["--publish-rm", "90"], "container web does not publish 90/tcp"),
        (["--publish-add", "8080:80"], "container web publishes 80/tcp at port 8080 already"),
        (["--publish-add", "8081:81", "--publish-add", "8090:82"], "port is already allocated"),
        (["--publish-add", "8081:81/icmp"], "protocol 'icmp'"),
    ],
)
def test_wrong_changes(net: NetworkHost, change: list[str], message: str) -> None:
    """Nothing is changed, neither now nor at the next start."""
    serve(net, "web", "-p", "8080:80")
    serve(net, "other", "-p", "8090:80")
    done = net.sampan("update", *change, "web")
    assert done.code != 0
    assert message in done.err
    assert ports(net, "web") == ["80/tcp -> 127.0.0.1:8080"]
    assert net.docker("restart", "-t", "0", "web").code == 0
    assert ports(net, "web") == ["80/tcp -> 127.0.0.1:8080"]


def test_change_of_one_that_does_not_run(net: NetworkHost) -> None:
    assert net.docker("create", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", SERVER).code == 0
    update(net, "--publish-add", "8081:80", "--publish-rm", "8080:80", "web")
    assert net.docker("start", "web").code == 0
    assert ports(net, "web") == ["80/tcp -> 127.0.0.1:8081"]


def test_where_no_ports_are(net: NetworkHost) -> None:
    assert net.docker("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "100").code == 0
    done = net.sampan("update", "--publish-add", "8080:80", "web")
    assert "is in no network where ports can be published while it runs" in done.err


def test_default_address(net: NetworkHost) -> None:
    """`sampand --ip`: without an address; a network's own option and -p say otherwise."""
    serve(net, "web", "-p", "8080:80", "-p", "0.0.0.0:8081:80")
    assert net.fetch("127.0.0.1", 8080) == "hi"
    assert net.fetch(HOST, 8080, lan="lan") == ""
    assert net.fetch(HOST, 8081, lan="lan") == "hi"
    option = f"com.docker.network.bridge.host_binding_ipv4={HOST}"
    assert net.docker("network", "create", "-o", option, "mine").code == 0
    serve(net, "other", "--network", "mine", "-p", "8082:80")
    assert ports(net, "other") == [f"80/tcp -> {HOST}:8082"]


def test_ten_thousand_ports_cost_no_rule(net: NetworkHost) -> None:
    idle(net, "few", "-p", "8080:80")
    before = rules(net)
    flags = ("-d", "--name", "many", "-p", f"{HOST}:20000-29999:80-10079")
    done = net.sampan("run", *flags, "busybox", "sh", "-c", SERVER)
    assert done.code == 0, done.err
    assert rules(net) == before
    wait_for(lambda: net.fetch(HOST, 20000, lan="lan") == "hi", "it answers")
    assert net.sampan("rm", "-f", "many").code == 0
    assert rules(net) == before


def rules(net: NetworkHost) -> list[Any]:
    shown = json.loads(net.on_host("nft", "-j", "--terse", "list", "ruleset").text)["nftables"]
    return [item["rule"] for item in shown if "rule" in item]


def test_show_ports(net: NetworkHost) -> None:
    """`run --show-ports` tells where it listens; the id alone is on standard output."""
    flags = ("-P", "--expose", "70-71", "-p", "9000-9001:80-81", "-p", "53:53/udp", "-p", "7000:7000/sctp")
    done = net.sampan("run", "-d", "--show-ports", "--name", "web", *flags, "busybox", "sleep", "100")
    assert done.code == 0, done.err
    assert len(done.text) == 64
    lines = done.err.splitlines()
    assert [line for line in lines if not line.startswith("7")] == [
        "53/udp -> 127.0.0.1:53",
        "80/tcp -> 127.0.0.1:9000",
        "81/tcp -> 127.0.0.1:9001",
    ]
    assert [line.rpartition(":")[0] for line in lines if line.startswith("7")] == [
        "70/tcp -> 127.0.0.1",
        "71/tcp -> 127.0.0.1",
        "7000/sctp -> 127.0.0.1",
    ]
    elements = net.on_host("nft", "list", "ruleset").text
    assert "127.0.0.1 . sctp . 7000 : " in elements
    assert "--show-ports needs --detach" in net.sampan("run", "--show-ports", "busybox", "true").err


def test_a_container_that_left_its_last_network(net: NetworkHost) -> None:
    """Its ports go with it, and are there again with the next network that leads outside."""
    for name, flags in (("one", ()), ("two", ()), ("inner", ("--internal",))):
        net.cli("network", "create", *flags, name)
    serve(net, "web", "--network", "one", "-p", "8080:80")
    net.cli("network", "disconnect", "one", "web")
    assert ports(net, "web") == []
    net.cli("network", "connect", "inner", "web")
    assert ports(net, "web") == []
    serve(net, "other", "-p", "8080:80")
    taken = net.docker("network", "connect", "two", "web")
    assert "port is already allocated: container other has it" in taken.err
    assert ports(net, "web") == []
    net.cli("rm", "-f", "other")
    net.cli("network", "connect", "two", "web")
    assert ports(net, "web") == ["80/tcp -> 127.0.0.1:8080"]
    assert net.fetch("127.0.0.1", 8080) == "hi"


@needs_postgres
def test_postgresql_by_name_and_by_port(net: NetworkHost) -> None:
    """A real server: a client in another container finds it by its name, one on the LAN by the port."""
    image = load_postgres(net)
    variables = [word for key, value in ENVIRONMENT.items() for word in ("-e", f"{key}={value}")]
    common = ("--network", "mine", "-u", "1000:1000", *variables)
    command = (
        "initdb -D /tmp/data -U test >&2 && echo host all all all trust >>/tmp/data/pg_hba.conf && "
        "exec postgres -D /tmp/data -k /tmp -h '*'"
    )
    net.cli("network", "create", "mine")
    net.cli("run", "-d", "--name", "db", "-p", "0.0.0.0:5432:5432", *common, image, "sh", "-c", command)
    ready = "ready to accept connections"
    wait_for(lambda: ready in net.docker("logs", "db").err, "PostgreSQL", 60)
    query = ("-U", "test", "-Atqc", "select sum(n) from generate_series(1, 1000) n", "postgres")
    assert net.cli("run", "--rm", *common, image, "psql", "-h", "db", *query) == "500500"
    asked = net.on_lan("psql", "-h", HOST, *query)
    assert asked.text == "500500", asked.err
