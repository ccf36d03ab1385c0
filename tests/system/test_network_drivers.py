"""Networks that are no plain bridges: macvlan, ipvlan, vxlan between two hosts, CNI with Debian's plugins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.system.network_host import HOST, LAN, NetworkHost
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for

CNI_PLUGINS = Path("/usr/lib/cni")
SERVER = "echo hi >/tmp/index.html; exec httpd -f -h /tmp -p 80"
MACVLAN = ("network", "create", "-d", "macvlan", "-o", "parent=out", "--subnet", "192.0.2.0/24")
RANGE = ("--ip-range", "192.0.2.128/25", "--gateway", LAN)
pytestmark = [needs_root, needs_busybox]
needs_plugins = pytest.mark.skipif(
    not (CNI_PLUGINS / "bridge").exists(), reason="no CNI plugins (Debian: containernetworking-plugins)"
)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net.d")


@pytest.fixture(scope="module")
def net_options(lists: Path) -> tuple[str, ...]:
    return f"--cni-config={lists}", f"--cni-plugins={CNI_PLUGINS}"


def ok(net: Sampand, *words: str) -> str:
    done = net.docker(*words)
    assert done.code == 0, done.err
    return done.text


def idle(net: Sampand, name: str, *flags: str) -> dict[str, Any]:
    """Run a container that waits; return its first network as inspect has it."""
    ok(net, "run", "-d", "--name", name, *flags, "busybox", "sleep", "1000")
    networks = json.loads(ok(net, "inspect", "-f", "{{json .NetworkSettings.Networks}}", name))
    return dict(next(iter(networks.values())))


def pings(net: Sampand, name: str, address: str) -> bool:
    return net.docker("exec", name, "ping", "-c", "1", "-W", "1", address).code == 0


def links(net: NetworkHost) -> set[str]:
    return {link["ifname"] for link in json.loads(net.on_host("ip", "-j", "link").text)}


def has_kind(kind: str, *words: str) -> bool:
    """Tell whether this kernel can make such links."""
    script = f"ip link add a type veth peer name b && ip link add x link a type {kind} {' '.join(words)}"
    return subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True).returncode == 0


@pytest.mark.parametrize("mode", ["", "bridge", "private", "vepa"])
def test_macvlan(net: NetworkHost, mode: str) -> None:
    ok(net, *MACVLAN, *RANGE, *(["-o", f"macvlan_mode={mode}"] if mode else []), "mv")
    one, two = (idle(net, name, "--network", "mv") for name in ("one", "two"))
    assert [one["IPAddress"], two["IPAddress"]] == ["192.0.2.128", "192.0.2.129"]
    assert pings(net, "one", LAN)
    assert not pings(net, "one", HOST)  # the kernel keeps a parent and its links apart
    assert pings(net, "one", two["IPAddress"]) == (mode in ("", "bridge"))
    assert pings(net, "one", "two") == (mode in ("", "bridge"))  # by name
    links = ok(net, "exec", "one", "ip", "link", "show", "eth0")
    assert one["MacAddress"] in links
    assert "default via 192.0.2.9" in ok(net, "exec", "one", "ip", "route")
    assert f"/{one['IPPrefixLen']} " in ok(net, "exec", "one", "ip", "-4", "addr", "show", "eth0")


def test_macvlan_passthru_has_one_container(net: NetworkHost) -> None:
    ok(net, *MACVLAN, *RANGE, "-o", "macvlan_mode=passthru", "mv")
    idle(net, "one", "--network", "mv")
    done = net.docker("run", "--name", "two", "--network", "mv", "busybox", "true")
    assert done.code == 125
    assert "macvlan port" in done.err
    assert net.call("GET", "/networks/mv")["Containers"].keys() == {
        ok(net, "inspect", "-f", "{{.Id}}", "one")
    }


def test_macvlan_with_two_subnets(net: NetworkHost) -> None:
    """As with Docker: each has a router outside, and who is in one reaches the other by it."""
    second = ("--subnet", "10.7.0.0/24", "--gateway", "10.7.0.9", "--aux-address", "host=10.7.0.1")
    net.on_lan("ip", "addr", "add", "10.7.0.9/24", "dev", "in")
    net.on_lan("sysctl", "-qw", "net.ipv4.ip_forward=1")
    ok(net, *MACVLAN, "--gateway", LAN, *second, "mv")
    one = idle(net, "one", "--network", "mv")
    two = idle(net, "two", "--network", "mv", "--ip", "10.7.0.77")
    assert (one["Gateway"], two["Gateway"], two["IPPrefixLen"]) == (LAN, "10.7.0.9", 24)
    assert ok(net, "exec", "two", "ip", "route").splitlines()[0].startswith("default via 10.7.0.9 dev eth0")
    assert pings(net, "two", LAN)
    assert pings(net, "one", "10.7.0.77")
    net.on_lan("ip", "addr", "del", "10.7.0.9/24", "dev", "in")


def test_macvlan_live(net: NetworkHost) -> None:
    ok(net, *MACVLAN, *RANGE, "mv")
    idle(net, "one")
    ok(net, "network", "connect", "mv", "one")
    assert "192.0.2.128/24" in ok(net, "exec", "one", "ip", "-4", "addr", "show", "eth1")
    assert pings(net, "one", LAN)
    ok(net, "network", "disconnect", "mv", "one")
    assert "eth1" not in ok(net, "exec", "one", "ip", "addr")
    idle(net, "two", "--network", "mv", "-p", "8080:80")  # ports have no meaning there, as with Docker
    assert net.call("GET", "/containers/two/json")["NetworkSettings"]["Ports"] == {"80/tcp": None}


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        (
            "macvlan",
            ["macvlan_mode=nonsense"],
            "requested macvlan mode 'nonsense' is not valid, 'bridge' mode",
        ),
        (
            "ipvlan",
            ["ipvlan_mode=l9"],
            "requested ipvlan mode 'l9' is not valid, 'l2' mode is the ipvlan driver",
        ),
        ("macvlan", ["parent=lo"], "loopback interface is not a valid macvlan parent link"),
        ("ipvlan", ["parent=lo"], "loopback interface is not a valid ipvlan parent link"),
        (
            "macvlan",
            ["parent=absent"],
            "invalid subinterface vlan name absent, example formatting is eth0.10",
        ),
        ("macvlan", ["parent=out.4095"], "vlan id must be between 1-4094, received: 4095"),
        ("macvlan", ["parent=out.x"], "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
        ("macvlan", ["parent=absent.5"], "-o parent interface was not found on the host: absent"),
        ("vxlan", [], "invalid vxlan_id ''"),
        ("vxlan", ["vxlan_id=16777216"], "invalid vxlan_id '16777216': a number from 1 to 16777215"),
        ("vxlan", ["vxlan_id=1", "peers=192.0.2.9,x"], "invalid peers: 'x' is not an address"),
        ("overlay", [], "not supported yet: network driver 'overlay'"),
        ("nosuch", [], "could not find plugin nosuch in v1 plugin registry: plugin not found"),
        ("cni", [], "a cni network needs the name of its conflist"),
        ("cni", ["conflist=absent"], "CNI network 'absent' is not there"),
        ("cni", ["conflist=../x"], "a name, not a path"),
    ],
)
def test_wrong_options(net: NetworkHost, driver: str, options: list[str], message: str) -> None:
    before = links(net)
    flags = [word for option in options for word in ("-o", option)]
    done = net.docker("network", "create", "-d", driver, *flags, "wrong")
    assert done.code == 1
    assert message in done.err
    assert net.docker("network", "inspect", "wrong").code == 1
    assert links(net) <= before  # those of an earlier test may be going


def test_one_network_a_parent(net: NetworkHost) -> None:
    ok(net, *MACVLAN, "mv")
    done = net.docker(
        "network", "create", "-d", "macvlan", "-o", "parent=out", "--subnet", "10.7.0.0/24", "mw"
    )
    assert "network mv is already using parent interface out" in done.err


def test_vlan_parent(net: NetworkHost) -> None:
    """A sub-interface is made for the network, and goes with it."""
    ok(net, *MACVLAN[:4], "-o", "parent=out.10", "--subnet", "10.7.0.0/24", "mv")
    done = net.docker("run", "--rm", "--network", "mv", "busybox", "ip", "-4", "addr", "show", "eth0")
    if has_kind("vlan", "id", "5"):
        assert "10.7.0.2/24" in done.text
        assert "out.10@out" in net.on_host("ip", "link").text
    else:
        assert "this kernel has no VLAN links" in done.err
    ok(net, "network", "rm", "mv")
    assert "out.10" not in net.on_host("ip", "link").text


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_ipvlan(net: NetworkHost, mode: str) -> None:
    ok(net, *MACVLAN[:2], "-d", "ipvlan", *MACVLAN[4:], *RANGE, "-o", f"ipvlan_mode={mode}", "iv")
    done = net.docker("run", "--rm", "--network", "iv", "busybox", "ip", "route")
    if has_kind("ipvlan"):
        assert ("default via 192.0.2.9" if mode == "l2" else "default dev eth0") in done.text
    else:
        assert "this kernel has no ipvlan links" in done.err


@contextmanager
def neighbour(net: NetworkHost, folder: Path) -> Iterator[Sampand]:
    """Run a second daemon, with the neighbour's namespace for its host."""

    class Neighbour(Sampand):
        def command(self) -> list[str]:
            return ["nsenter", f"--net=/run/netns/{net.spaces[1]}", "--"]

    daemon = Neighbour(folder)
    daemon.start("--default-network=bridge")
    try:
        daemon.load_busybox()
        yield daemon
    finally:
        daemon.close()


def test_vxlan(net: NetworkHost, tmp_path: Path) -> None:
    """Containers of two hosts meet on one network, whose addresses the hosts share by ranges."""
    create = ("network", "create", "-d", "vxlan", "--subnet", "10.9.0.0/24", "-o", "vxlan_id=42")
    with neighbour(net, tmp_path) as other:
        ok(net, *create, "--ip-range", "10.9.0.0/25", "-o", f"peers={LAN}", "-o", f"local={HOST}", "wide")
        ok(other, *create, "--ip-range", "10.9.0.128/25", "-o", f"peers={HOST}", "wide")
        here = idle(net, "here", "--network", "wide")
        there = idle(other, "there", "--network", "wide")
        assert [here["IPAddress"], there["IPAddress"]] == ["10.9.0.2", "10.9.0.128"]
        wait_for(lambda: pings(net, "here", "10.9.0.128"), "they meet", 10)
        assert pings(other, "there", "10.9.0.2")
        assert "mtu 1450" in ok(net, "exec", "here", "ip", "link", "show", "eth0")
        assert pings(net, "here", LAN)  # and the outside, by NAT, as on a bridge
        assert not pings(net, "here", "10.9.0.130")
        done = net.docker("network", "create", "-d", "vxlan", "-o", "vxlan_id=42", "again")
        assert "network wide has vxlan_id 42 already" in done.err
    net.docker("rm", "-f", "here")
    ok(net, "network", "rm", "wide")
    assert "vx-" not in net.on_host("ip", "link").text


def write_list(lists: Path, name: str, data: Path, **more: Any) -> None:
    ipam = {"type": "host-local", "dataDir": str(data), "ranges": [[{"subnet": "10.88.0.0/24"}]]}
    ipam["routes"] = [{"dst": "0.0.0.0/0"}]
    bridge = {"type": "bridge", "bridge": "cni-test0", "isGateway": True, "ipMasq": True, "ipam": ipam}
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "tuning"}]
    document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins, **more}
    (lists / f"10-{name}.conflist").write_text(json.dumps(document))


def leases(data: Path, name: str) -> set[str]:
    folder = data / name
    return {one for one in os.listdir(folder) if one[0].isdigit()} if folder.exists() else set()


@needs_plugins
def test_cni(net: NetworkHost, lists: Path, tmp_path: Path) -> None:
    """Debian's bridge, host-local, portmap and tuning, chained: from start to an end that nobody saw."""
    write_list(lists, "wired", tmp_path)
    ok(net, "network", "create", "-d", "cni", "-o", "conflist=wired", "mine")
    ok(net, "run", "-d", "--name", "web", "--network", "mine", "-p", "8080:80", "busybox", "sh", "-c", SERVER)
    found = net.call("GET", "/containers/web/json")["NetworkSettings"]["Networks"]["mine"]
    assert (found["IPAddress"], found["Gateway"], found["IPPrefixLen"]) == ("10.88.0.2", "10.88.0.1", 24)
    assert found["MacAddress"] in ok(net, "exec", "web", "ip", "link", "show", "eth0")
    assert "10.88.0.2\t" in ok(net, "exec", "web", "cat", "/etc/hosts")
    wait_for(lambda: net.fetch(HOST, 8080, lan="lan") == "hi", "portmap leads to it", 10)
    assert pings(net, "web", LAN)
    idle(net, "other", "--network", "mine")
    assert pings(net, "other", "web")  # by name
    assert leases(tmp_path, "wired") == {"10.88.0.2", "10.88.0.3"}
    ok(net, "restart", "-t", "0", "web")  # a new ADD waits for DEL
    assert len(leases(tmp_path, "wired")) == 2
    ok(net, "rm", "-f", "other")
    wait_for(lambda: len(leases(tmp_path, "wired")) == 1, "the address is given back", 10)
    pid = int(ok(net, "inspect", "-f", "{{.State.Pid}}", "web"))
    net.kill()
    os.kill(pid, signal.SIGKILL)
    net.start(f"--cni-config={lists}", f"--cni-plugins={CNI_PLUGINS}")
    wait_for(lambda: leases(tmp_path, "wired") == set(), "what nobody saw end is taken away", 20)
    idle(net, "wire", "--network", "none")
    ok(net, "rm", "-f", "web")


@needs_plugins
def test_cni_that_fails(net: NetworkHost, lists: Path, tmp_path: Path) -> None:
    """A plugin's complaint is what the user reads, and nothing is half made."""
    write_list(lists, "failing", tmp_path)
    document = json.loads((lists / "10-failing.conflist").read_text())
    document["plugins"][2]["sysctl"] = {"net.ipv4.nosuch": "1"}
    (lists / "10-failing.conflist").write_text(json.dumps(document))
    ok(net, "network", "create", "-d", "cni", "-o", "conflist=failing", "failing")
    done = net.docker("run", "--name", "one", "--network", "failing", "busybox", "true")
    assert done.code in (125, 127)  # the CLI's, by what the text says
    assert "CNI plugin tuning failed at ADD: " in done.err
    assert leases(tmp_path, "failing") == set()
    assert net.call("GET", "/networks/failing")["Containers"] == {}
    done = net.docker(
        "network", "create", "-d", "cni", "-o", "conflist=failing", "--subnet", "10.5.0.0/24", "x"
    )
    assert "its plugins' to give" in done.err
