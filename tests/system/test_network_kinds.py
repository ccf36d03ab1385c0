"""Networks of IPv6 alone, the default network as options want it, and configurations for others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.system.network_host import HOST, HOST6, NetworkHost, idle, network_host, serve, settings
from tests.system.sampand import needs_docker_28

pytestmark = pytest.mark.usefixtures("net")


def show(net: NetworkHost, name: str) -> Any:
    [found] = json.loads(net.cli("network", "inspect", name))
    return found


def inside(net: NetworkHost, name: str, *command: str) -> str:
    return net.docker("exec", name, *command).text


@needs_docker_28
def test_ipv6_alone(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd66::/64", "six")
    shown = show(net, "six")
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (False, True)
    assert [pool["Subnet"] for pool in shown["IPAM"]["Config"]] == ["fd66::/64"]
    serve(net, "web", "--network", "six", "-p", "8080:80")
    found = settings(net, "web")
    assert found["Networks"]["six"]["IPAddress"] == ""
    assert found["Networks"]["six"]["GlobalIPv6Address"] == "fd66::2"
    assert found["Ports"] == {"80/tcp": [{"HostIp": "::", "HostPort": "8080"}]}
    assert "inet " not in inside(net, "web", "ip", "addr", "show", "eth0")
    assert net.fetch(HOST6, 8080, lan="lan") == "hi"
    idle(net, "other", "--network", "six")
    assert net.docker("exec", "other", "ping", "-6", "-c", "1", "-W", "20", "web").code == 0
    macs = {one["MacAddress"] for one in show(net, "six")["Containers"].values()}
    assert len(macs) == 2
    assert found["Networks"]["six"]["MacAddress"] in inside(net, "web", "ip", "link", "show", "eth0")


@needs_docker_28
def test_ipv6_alone_and_ipv4_on_another_network(net: NetworkHost) -> None:
    """Each family leaves by the network that has it, and ports lead there."""
    net.cli("network", "create", "--ipv4=false", "--ipv6", "six")
    net.cli("network", "create", "four")
    serve(net, "web", "--network", "six", "-p", "8080:80")
    net.cli("network", "connect", "four", "web")
    assert "default via" in inside(net, "web", "ip", "-4", "route")
    assert "default via" in inside(net, "web", "ip", "-6", "route")
    assert net.fetch(HOST6, 8080, lan="lan") == "hi"
    assert net.fetch(HOST, 8080, lan="lan") == "hi"
    net.cli("network", "disconnect", "six", "web")
    assert "default" not in inside(net, "web", "ip", "-6", "route")


@needs_docker_28
def test_families_that_cannot_be(net: NetworkHost) -> None:
    none = net.docker("network", "create", "--ipv4=false", "nothing")
    assert "a network without IPv4 needs IPv6" in none.err
    net.cli("network", "create", "--ipv4=false", "--ipv6", "six")
    asked = net.docker("run", "--network", "six", "--ip", "10.1.2.3", "busybox", "true")
    assert "IPv4 address 10.1.2.3 was asked for, but network six has no IPv4" in asked.err
    at4 = net.docker("run", "--network", "six", "-p", "127.0.0.1:8080:80", "busybox", "true")
    assert "none of the container's networks leads outside by IPv4" in at4.err
    warned = net.call(
        "POST",
        "/networks/create",
        {
            "Name": "seven",
            "EnableIPv4": False,
            "EnableIPv6": True,
            "IPAM": {"Config": [{"Subnet": "10.1.0.0/16"}]},
        },
    )
    assert "subnet 10.1.0.0/16 has no effect without IPv4" in warned["Warning"]


@needs_docker_28
def test_an_ipv6_network_comes_back_with_sampand(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv4=false", "--ipv6", "six")
    serve(net, "web", "--network", "six", "-p", "8080:80")
    address = settings(net, "web")["Networks"]["six"]["GlobalIPv6Address"]
    net.kill()
    net.start()
    assert net.fetch(HOST6, 8080, lan="lan") == "hi"
    taken = net.docker("run", "--network", "six", "--ip6", address, "busybox", "true")
    assert taken.code != 0
    idle(net, "other", "--network", "six")
    assert settings(net, "other")["Networks"]["six"]["GlobalIPv6Address"] != address


def test_a_configuration_for_others(net: NetworkHost) -> None:
    net.cli(
        "network", "create", "--config-only", "--subnet", "10.61.0.0/16", "--label", "of=plan",
        "-o", "com.docker.network.driver.mtu=1400", "plan",
    )  # fmt: skip
    plan = show(net, "plan")
    assert (plan["ConfigOnly"], plan["Driver"], plan["Scope"]) == (True, "null", "local")
    assert plan["IPAM"]["Config"] == [{"Subnet": "10.61.0.0/16"}]
    net.cli("network", "create", "--config-from", "plan", "made")
    made = show(net, "made")
    assert (made["ConfigFrom"], made["Labels"]) == ({"Network": "plan"}, {"of": "plan"})
    assert made["IPAM"]["Config"][0]["Subnet"] == "10.61.0.0/16"
    idle(net, "web", "--network", "made")
    assert "mtu 1400" in inside(net, "web", "ip", "link", "show", "eth0")
    for words, why in (
        (("network", "create", "--config-from", "plan", "again"), "Pool overlaps with other one"),
        (
            ("network", "create", "--config-from", "made", "more"),
            'configuration network "made" does not exist',
        ),
        (("network", "create", "--config-from", "nothing", "more"), 'network "nothing" does not exist'),
        (
            ("network", "create", "--config-from", "plan", "--ipv6", "more"),
            "user specified configurations are not",
        ),
        (
            ("network", "create", "--config-from", "plan", "-o", "a=b", "more"),
            "driver options are not supported",
        ),
        (
            ("network", "create", "--config-only", "--internal", "more"),
            "can only contain network specific fields",
        ),
        (("network", "create", "--config-only", "--config-from", "plan", "more"), "cannot depend on another"),
        (
            ("network", "create", "--config-only", "--subnet", "10.1.0.0/99", "more"),
            "invalid subnet 10.1.0.0/99",
        ),
        (("network", "connect", "plan", "web"), "cannot create endpoint on configuration-only network"),
        (
            ("run", "--network", "plan", "busybox", "true"),
            "cannot create endpoint on configuration-only network",
        ),
        (("network", "rm", "plan"), 'configuration network "plan" is in use'),
    ):
        done = net.docker(*words)
        assert done.code != 0
        assert why in done.err, words
    net.kill()
    net.start()
    assert "plan" in net.cli("network", "ls", "--format", "{{.Name}}").split()
    net.cli("rm", "-f", "web")
    net.cli("network", "rm", "made")
    assert net.call("POST", "/networks/prune")["NetworksDeleted"] in (None, [])
    net.cli("network", "rm", "plan")


@needs_docker_28
def test_the_commands_of_sampan(net: NetworkHost) -> None:
    """`sampan network` takes what docker's does; ranges and gateways go to the subnets they lie in."""

    def ours(*words: str, code: int = 0) -> str:
        done = net.sampan("network", *words)
        assert done.code == code, done.err
        return done.text if code == 0 else done.err

    subnets = ("--subnet", "10.62.0.0/16", "--subnet", "fd62::/64", "--ipv6")
    ours(
        "create", *subnets, "--gateway", "fd62::9", "--gateway", "10.62.0.9", "--ip-range", "10.62.1.0/24",
        "--aux-address", "router=fd62::2", "--ipam-opt", "by=hand", "both",
    )  # fmt: skip
    ipam = show(net, "both")["IPAM"]
    assert ipam["Options"] == {"by": "hand"}
    assert ipam["Config"] == [
        {"Subnet": "10.62.0.0/16", "IPRange": "10.62.1.0/24", "Gateway": "10.62.0.9"},
        {"Subnet": "fd62::/64", "Gateway": "fd62::9", "AuxiliaryAddresses": {"router": "fd62::2"}},
    ]
    assert "--gateway: 10.63.0.1 lies in no --subnet" in ours(
        "create", *subnets, "--gateway", "10.63.0.1", "none", code=1
    )
    assert "every ip-range or gateway needs a --subnet" in ours(
        "create", "--gateway", "10.1.0.1", "none", code=1
    )
    ours("create", "--config-only", "--subnet", "10.64.0.0/16", "plan")
    ours("create", "--config-from", "plan", "made")
    ours("create", "--ipv4=false", "--ipv6", "six")
    warned = net.sampan("network", "create", "-o", "com.docker.network.bridge.nonsense=1", "told")
    assert "warning: driver option com.docker.network.bridge.nonsense is not known" in warned.err
    idle(net, "web", "--network", "made")
    option = "com.docker.network.endpoint.ifname=lan0"
    ours(
        "connect",
        "--ip6",
        "fd62::77",
        "--alias",
        "www",
        "--gw-priority",
        "7",
        "--driver-opt",
        option,
        "both",
        "web",
    )
    found = settings(net, "web")["Networks"]["both"]
    assert (found["GlobalIPv6Address"], found["GwPriority"]) == ("fd62::77", 7)
    assert "default via 10.62.0.9 dev lan0" in inside(net, "web", "ip", "route")


def test_the_default_network_as_options_want_it(tmp_path: Path) -> None:
    options = ("--ipv6", "--fixed-cidr-v6", "fd78::/64", "--bip", "10.77.0.1/24", "--mtu", "1400")
    with network_host(tmp_path, *options, "--default-address-pool", "base=10.80.0.0/15,size=24") as host:
        serve(host, "web", "-p", "8080:80")
        found = settings(host, "web")["Networks"]["bridge"]
        assert (found["IPAddress"], found["Gateway"]) == ("10.77.0.2", "10.77.0.1")
        assert (found["GlobalIPv6Address"], found["IPv6Gateway"]) == ("fd78::2", "fd78::1")
        assert "mtu 1400" in inside(host, "web", "ip", "link", "show", "eth0")
        assert host.fetch(HOST6, 8080, lan="lan") == "hi"
        host.cli("network", "create", "mine")
        assert show(host, "mine")["IPAM"]["Config"][0]["Subnet"] == "10.80.0.0/24"
        host.kill()
        host.start()  # without options, while a container runs there: it stays as it is
        assert show(host, "bridge")["EnableIPv6"] is True
        assert host.fetch(HOST6, 8080, lan="lan") == "hi"
        host.remove_containers()
        host.kill()
        host.start()
        assert show(host, "bridge")["EnableIPv6"] is False
        idle(host, "web")
        assert not settings(host, "web")["Networks"]["bridge"]["IPAddress"].startswith("10.77.")
        assert "inet6" not in inside(host, "web", "ip", "addr", "show", "eth0")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        pytest.param(["--bip", "10.0.0.0/24"], "is no address of a host", id="bridge's address"),
        pytest.param(["--fixed-cidr-v6", "fd00::/64"], "needs --ipv6", id="subnet without IPv6"),
        pytest.param(["--ipv6", "--mtu", "1000"], "with --ipv6 at least 1280", id="MTU too small for IPv6"),
        pytest.param(["--default-address-pool", "10.0.0.0/8"], "write base=10.0.0.0/8,size=24", id="pool"),
    ],
)
def test_wrong_options(net: NetworkHost, option: list[str], why: str) -> None:
    del net
    done = subprocess.run(
        [sys.executable, "-m", "sampan.daemon", *option], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert why in done.stderr
