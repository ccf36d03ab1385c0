"""`network inspect --anatomy`: what is shown is what the kernel has."""

from __future__ import annotations

import json
import os
import re
from xml.etree import ElementTree

import pytest
from tests.system.network_host import HOST, LAN, NetworkHost
from tests.system.sampand import needs_busybox, needs_root

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def network(net_host: NetworkHost) -> dict[str, str]:
    """Two containers on a network; return what they and it are called."""
    assert net_host.docker("network", "create", "--subnet", "10.6.0.0/24", "mine").code == 0
    for name, flags in (("web", ("-p", f"{HOST}:8080:80")), ("other", ())):
        done = net_host.docker(
            "run", "-d", "--name", name, "--network", "mine", *flags, "busybox", "sleep", "1000"
        )
        assert done.code == 0, done.err
    found = {name: net_host.docker("inspect", "-f", "{{.State.Pid}}", name).text for name in ("web", "other")}
    return {**found, "bridge": f"br-{net_host.call('GET', '/networks/mine')['Id'][:12]}"}


def shown(net_host: NetworkHost, *flags: str) -> str:
    done = net_host.sampan("network", "inspect", "--anatomy", *flags, "mine")
    assert done.code == 0, done.err
    return done.text


def test_tree(net_host: NetworkHost, network: dict[str, str]) -> None:
    text = shown(net_host)
    assert re.search(rf"{network['bridge']} up 10\.6\.0\.1/24 mtu 1500 02:42", text)
    assert "route 10.6.0.0/24" in text
    for name, address in (("web", "10.6.0.2"), ("other", "10.6.0.3")):
        space = os.readlink(f"/proc/{network[name]}/ns/net")
        assert f"# {name}, process {network[name]}, {space}" in text
        assert f"═══ eth0 up {address}/32 mtu 1500 02:42:0a:06" in text
    assert "route default via 10.6.0.1" in text
    assert f"the way to {HOST}:8080/tcp of web" in text
    assert "map ports_at4: tcp 8080 → 10.6.0.2:80" in text
    assert "MISSING" not in text


def test_counters(net_host: NetworkHost, network: dict[str, str]) -> None:
    before = json.loads(shown(net_host, "--format", "json"))
    done = net_host.docker("exec", "web", "ping", "-c", "3", "-s", "1000", "10.6.0.3")
    assert done.code == 0, done.err
    after = json.loads(shown(net_host, "--format", "json"))
    assert after["Sent"] - before["Sent"] > 2 * 3000  # both send
    inside = {one["Name"]: one["Inside"] for one in after["Containers"]}
    assert inside["web"]["Sent"] > 3000
    assert after["Sent"] == inside["web"]["Sent"] + inside["other"]["Sent"]


def test_picture(net_host: NetworkHost, network: dict[str, str]) -> None:
    root = ElementTree.fromstring(shown(net_host, "--format", "svg"))
    texts = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert f"web, process {network['web']}" in texts
    assert any("map ports_at4: tcp 8080" in text for text in texts)


def test_what_is_gone_is_said(net_host: NetworkHost, network: dict[str, str]) -> None:
    """Read back, not remembered: an element and an address that somebody removes are not shown."""
    table = next(
        line.split()[-1]
        for line in net_host.on_host("nft", "list", "tables").text.splitlines()
        if "sampan" in line
    )
    net_host.on_host("nsenter", "-t", network["other"], "-n", "ip", "link", "set", "eth0", "down")
    net_host.on_host("iptables", "-P", "FORWARD", "DROP")
    text = shown(net_host)
    assert "eth0 DOWN" in text
    assert re.search(r"forward 0: 0 rules, else drop +# ip filter FORWARD", text)
    assert f"# inet {table} forward" in text


def test_refusals(net_host: NetworkHost) -> None:
    assert "is made of nothing" in net_host.sampan("network", "inspect", "--anatomy", "host").err
    assert "network absent not found" in net_host.sampan("network", "inspect", "--anatomy", "absent").err
    done = net_host.sampan("network", "inspect", "--anatomy", "--format", "png", "mine")
    assert "'png' is none of tree, json, svg" in done.err
    assert LAN not in done.err
