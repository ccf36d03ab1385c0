"""Bridge networks, driven by the docker CLI, in a namespace that stands for the host."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.system.network_host import HOST, LAN, NetworkHost, idle, serve, settings
from tests.system.sampand import needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
_READ = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2) as sock:
    print(sock.makefile().read())
"""


def test_reaches(net: NetworkHost) -> None:
    """Every cell: published everywhere, published at loopback, not published."""
    serve(net, "web", "-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", f"{HOST}:8082:80")
    idle(net, "same")
    assert net.docker("network", "create", "mine").code == 0
    idle(net, "other", "--network", "mine")
    address = settings(net, "web")["IPAddress"]
    gateway = settings(net, "web")["Gateway"]
    reached = {
        ("host", "8080"): net.fetch(HOST, 8080),
        ("host", "8080 at loopback"): net.fetch("127.0.0.1", 8080),
        ("host", "8081 at loopback"): net.fetch("127.0.0.1", 8081),
        ("host", "8082"): net.fetch(HOST, 8082),
        ("host", "directly"): net.fetch(address, 80),
        ("lan", "8080"): net.fetch(HOST, 8080, lan="lan"),
        ("lan", "8082"): net.fetch(HOST, 8082, lan="lan"),
        ("same", "directly"): net.fetch_from("same", address, 80),
        ("same", "8080"): net.fetch_from("same", HOST, 8080),
        ("itself", "8080"): net.fetch_from("web", HOST, 8080),
        ("other", "8080"): net.fetch_from("other", HOST, 8080),
        ("other", "8080 by gateway"): net.fetch_from("other", gateway, 8080),
    }
    assert reached == dict.fromkeys(reached, "hi")
    refused = {
        ("host", "8081 elsewhere"): net.fetch(HOST, 8081),
        ("host", "8082 at loopback"): net.fetch("127.0.0.1", 8082),
        ("lan", "8081"): net.fetch(HOST, 8081, lan="lan"),
        ("other", "directly"): net.fetch_from("other", address, 80),
        ("same", "8081"): net.fetch_from("same", gateway, 8081),
    }
    assert refused == dict.fromkeys(refused, "")


def test_no_direct_route_from_outside(net: NetworkHost) -> None:
    """A neighbour that sends to a container's address, or to 127.0.0.1, by way of the host gets nothing."""
    serve(net, "web", "-p", "127.0.0.1:8081:80", "-p", "8080:80")
    address = settings(net, "web")["IPAddress"]
    net.on_lan("ip", "route", "add", f"{address}/32", "via", HOST)
    net.on_lan("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    net.on_lan("ip", "route", "add", "127.0.0.1/32", "via", HOST, "dev", "in")
    net.on_lan("sysctl", "-w", "net.ipv4.conf.all.route_localnet=1")
    assert net.fetch(HOST, 8080, lan="lan") == "hi"
    assert net.fetch(address, 80, lan="lan") == ""
    assert net.fetch("127.0.0.1", 8081, lan="lan") == ""
    net.on_lan("ip", "addr", "add", "127.0.0.1/8", "dev", "lo")


def test_source_address_is_kept(net: NetworkHost) -> None:
    script = "nc -ll -p 80 -e netstat -tn"
    done = net.docker("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", script)
    assert done.code == 0, done.err
    answer = wait_for(lambda: net.on_lan(sys.executable, "-c", _READ, HOST, "8080").text, "an answer")
    assert LAN in answer


def test_outside_is_reached(net: NetworkHost) -> None:
    done = net.docker("run", "--rm", "busybox", "ping", "-c", "1", "-W", "20", "192.0.2.9")
    assert done.code == 0, done.err
    net.docker("network", "create", "--internal", "inner")
    inner = net.docker(
        "run", "--rm", "--network", "inner", "busybox", "ping", "-c", "1", "-W", "1", "192.0.2.9"
    )
    assert inner.code != 0


def test_inside(net: NetworkHost) -> None:
    done = net.docker(
        "run", "--rm", "-h", "web", "busybox", "sh", "-c", "ip -4 a show eth0; ip r; cat /etc/hosts"
    )
    assert "inet 172.17.0.2/32 scope global eth0" in done.text
    assert "default via 172.17.0.1 dev eth0" in done.text
    assert "172.17.0.2\tweb" in done.text


def test_port_forms(net: NetworkHost) -> None:
    idle(net, "web", "-p", "9000-9001:80-81", "-p", "53/udp", "-p", "9100-9110:82", "--expose", "99")
    ports = settings(net, "web")["Ports"]
    assert ports["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "9000"}]
    assert ports["81/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "9001"}]
    assert ports["82/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "9100"}]
    assert int(ports["53/udp"][0]["HostPort"]) > 1023
    assert ports["99/tcp"] is None
    idle(net, "all", "-P", "--expose", "99", "-p", "9100-9110:82")
    ports = settings(net, "all")["Ports"]
    assert ports["82/tcp"][0]["HostPort"] == "9101"
    assert int(ports["99/tcp"][0]["HostPort"]) > 1023
    assert "0.0.0.0:9000->80/tcp" in net.docker("ps", "--filter", "name=web").text
    for wanted, names in (
        ("publish=9001", "web"),
        ("publish=9100-9101", "all\nweb"),
        ("publish=80", ""),
        ("expose=99", "all\nweb"),
    ):
        assert net.docker("ps", "--filter", wanted, "--format", "{{.Names}}").text == names
    net.docker("stop", "-t", "0", "web")
    assert net.docker("ps", "-a", "--filter", "name=web", "--format", "{{.Ports}}").text == ""


def test_port_taken(net: NetworkHost) -> None:
    idle(net, "web", "-p", "9000:80")
    done = net.docker("run", "--name", "second", "-p", "9000:80", "busybox", "true")
    assert (done.code, "Bind for 0.0.0.0:9000 failed: port is already allocated" in done.err) == (125, True)
    assert net.docker("inspect", "-f", "{{.State.Status}}", "second").text == "created"
    net.docker("rm", "-f", "web")
    assert net.docker("start", "second").code == 0


def test_starts_at_once_share_nothing(net: NetworkHost) -> None:
    """Of several starts that want one port one gets it; chosen ports and addresses are each one's own."""

    def make(name: str, binding: dict[str, str]) -> str:
        host = {"PortBindings": {"80/tcp": [binding]}}
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host}
        return str(net.call("POST", f"/containers/create?name={name}", body)["Id"])

    def start(container: str) -> tuple[int, bytes]:
        status, _, answer = net.request("POST", f"/containers/{container}/start")
        return status, answer

    rivals = [make(f"rival-{number}", {"HostPort": "9000"}) for number in range(4)]
    others = [make(f"other-{number}", {}) for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(start, [*rivals, *others]))
    assert sorted(status for status, _ in answers[:4]) == [204, 500, 500, 500]
    assert all(b"port is already allocated" in answer for status, answer in answers[:4] if status == 500)
    assert [status for status, _ in answers[4:]] == [204] * 4
    found = [settings(net, one) for one in others]
    assert len({one["Ports"]["80/tcp"][0]["HostPort"] for one in found}) == 4
    inside = net.call("GET", "/networks/bridge")["Containers"].values()
    assert len({one["IPv4Address"] for one in inside}) == len(inside) == 5


def test_addresses(net: NetworkHost) -> None:
    made = net.docker("network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.9", "mine")
    assert made.code == 0, made.err
    idle(net, "web", "--network", "mine", "--ip", "10.9.0.77", "--network-alias", "www")
    found = settings(net, "web")["Networks"]["mine"]
    assert (found["IPAddress"], found["IPPrefixLen"], found["Gateway"]) == ("10.9.0.77", 24, "10.9.0.9")
    assert (found["Aliases"], found["DNSNames"][:2]) == (["www"], ["web", "www"])
    taken = net.docker("run", "--network", "mine", "--ip", "10.9.0.77", "busybox", "true")
    assert "Address already in use" in taken.err
    outside = net.docker("run", "--network", "mine", "--ip", "10.8.0.1", "busybox", "true")
    assert "no configured subnet" in outside.err
    default = net.docker("run", "--ip", "172.17.0.9", "busybox", "true")
    assert "supported on user defined networks only" in default.err
    unknown = net.docker("run", "--network", "nowhere", "busybox", "true")
    assert "network nowhere not found" in unknown.err


def test_several_subnets(net: NetworkHost) -> None:
    """Containers of all subnets meet; each has the gateway of its own, and so it is after a kill."""
    made = net.sampan(  # docker's own client sends the subnets in any order
        *("network", "create", "--ipv6", "--subnet", "10.9.0.0/30", "--subnet", "10.10.0.0/24"),
        *("--ip-range", "10.10.0.128/25", "--gateway", "10.10.0.9", "--aux-address", "router=10.10.0.128"),
        *("--subnet", "fd91::/126", "--subnet", "fd92::/64", "mine"),
    )
    assert made.code == 0, made.err
    [shown] = json.loads(net.cli("network", "inspect", "mine"))
    assert [one["Subnet"] for one in shown["IPAM"]["Config"]] == [
        "10.9.0.0/30", "10.10.0.0/24", "fd91::/126", "fd92::/64",
    ]  # fmt: skip
    idle(net, "first", "--network", "mine", "--ip6", "fd92::77")
    serve(net, "second", "--network", "mine", "-p", "8080:80")
    idle(net, "third", "--network", "mine", "--ip", "10.10.0.77")
    first, second, third = (settings(net, name)["Networks"]["mine"] for name in ("first", "second", "third"))
    assert (first["IPAddress"], first["Gateway"], first["IPPrefixLen"]) == ("10.9.0.2", "10.9.0.1", 30)
    assert (second["IPAddress"], second["Gateway"], second["IPPrefixLen"]) == ("10.10.0.129", "10.10.0.9", 24)
    assert (first["GlobalIPv6Address"], first["IPv6Gateway"]) == ("fd92::77", "fd92::1")
    assert (second["GlobalIPv6Address"], second["GlobalIPv6PrefixLen"]) == ("fd91::2", 126)
    assert (third["IPAddress"], third["GlobalIPv6Address"]) == ("10.10.0.77", "fd91::3")
    assert "default via 10.10.0.9 dev eth0" in net.cli("exec", "second", "ip", "route")
    assert net.fetch(HOST, 8080, lan="lan") == "hi"
    for address in ("10.10.0.129", "fd91::2", "second"):
        assert net.fetch_from("first", address, 80) == "hi"
    assert net.docker("exec", "first", "ping", "-c", "1", "-W", "20", LAN).code == 0
    net.kill()
    net.start()
    idle(net, "fourth", "--network", "mine")
    assert settings(net, "fourth")["Networks"]["mine"]["IPAddress"] == "10.10.0.130"
    taken = net.docker("run", "--network", "mine", "--ip", "10.10.0.129", "busybox", "true")
    assert "Address already in use: 10.10.0.129" in taken.err
    outside = net.docker("run", "--network", "mine", "--ip", "10.11.0.1", "busybox", "true")
    assert "no configured subnet contains IP address 10.11.0.1" in outside.err
    meets = net.docker("network", "create", "--subnet", "10.10.0.0/26", "other")
    assert "Pool overlaps with other one on this address space" in meets.err


def test_network_commands(net: NetworkHost) -> None:
    assert (
        net.docker(
            "network", "create", "--label", "a=b", "-o", "com.docker.network.driver.mtu=1400", "mine"
        ).code
        == 0
    )
    assert "already exists" in net.docker("network", "create", "mine").err
    assert net.docker("network", "ls", "-q", "--filter", "label=a=b").text
    assert net.docker("network", "ls", "--format", "{{.Name}}", "--filter", "type=builtin").text.split() == [
        "bridge",
        "host",
        "none",
    ]
    idle(net, "web", "--network", "mine")
    assert "1400" in net.docker("exec", "web", "cat", "/sys/class/net/eth0/mtu").text
    [shown] = json.loads(net.docker("network", "inspect", "mine").text)
    assert [one["Name"] for one in shown["Containers"].values()] == ["web"]
    assert "has active endpoints" in net.docker("network", "rm", "mine").err
    assert "pre-defined network" in net.docker("network", "rm", "bridge").err
    net.docker("rm", "-f", "web")
    assert net.docker("network", "prune", "-f").text.split()[-1] == "mine"


def test_the_smallest_mtu(net: NetworkHost) -> None:
    """Below 1280 the kernel has no IPv6 on an interface (RFC 8200, section 5)."""
    net.cli("network", "create", "-o", "com.docker.network.driver.mtu=68", "mine")
    idle(net, "web", "--network", "mine")
    assert net.cli("exec", "web", "cat", "/sys/class/net/eth0/mtu") == "68"
    assert net.docker("exec", "web", "ping", "-c", "1", "-W", "20", "-s", "20", LAN).code == 0


def test_own_command_line(net: NetworkHost) -> None:
    made = net.sampan("network", "create", "--subnet", "10.9.0.0/24", "--label", "a=b", "mine")
    assert made.code == 0, made.err
    assert "mine" in net.sampan("network", "ls", "--filter", "label=a=b").text
    done = net.sampan("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sleep", "1000")
    assert done.code == 0, done.err
    assert net.sampan("network", "connect", "--ip", "10.9.0.7", "mine", "web").code == 0
    assert "10.9.0.7/24" in net.sampan("network", "inspect", "mine").text
    assert net.sampan("network", "disconnect", "mine", "web").code == 0
    assert net.sampan("network", "rm", "mine").text == "mine"
    assert "0.0.0.0:8080" in net.sampan("port", "web").text


def test_connect_and_disconnect(net: NetworkHost) -> None:
    net.docker("network", "create", "mine")
    serve(net, "web", "--network", "mine")
    idle(net, "client")
    address = settings(net, "web")["Networks"]["mine"]["IPAddress"]
    assert net.fetch_from("client", address, 80) == ""
    assert net.docker("network", "connect", "mine", "client").code == 0
    assert net.fetch_from("client", address, 80) == "hi"
    assert "already exists in network mine" in net.docker("network", "connect", "mine", "client").err
    assert sorted(settings(net, "client")["Networks"]) == ["bridge", "mine"]
    net.docker("restart", "-t", "0", "client")
    assert net.fetch_from("client", address, 80) == "hi"
    assert net.docker("network", "disconnect", "bridge", "client").code == 0
    assert "default via 172.18.0.1" in net.docker("exec", "client", "ip", "route").text
    assert net.docker("network", "disconnect", "mine", "client").code == 0
    assert "eth" not in net.docker("exec", "client", "ip", "link").text
    assert net.docker("network", "connect", "mine", "client").code == 0
    assert net.fetch_from("client", "web", 80) == "hi"
    net.docker("restart", "-t", "0", "client")
    assert net.fetch_from("client", "web", 80) == "hi"


def test_host_and_none_are_for_life(net: NetworkHost) -> None:
    """In Docker's words; but who has no network may leave `none`, as scripts do before they connect it."""
    net.cli("network", "create", "mine")
    for name, network in (("web", "mine"), ("bare", "none"), ("open", "host"), ("guest", "container:web")):
        idle(net, name, "--network", network)
    shared = (
        "container sharing network namespace with another container or host cannot be connected to any other"
    )
    for words, why in (
        (("connect", "host", "web"), "cannot connect container to host network - container must be created"),
        (("connect", "none", "web"), "with one of the networks in private (none) mode"),
        (("connect", "mine", "open"), shared),
        (("connect", "mine", "guest"), shared),
        (("disconnect", "host", "open"), "container cannot be disconnected from host network or connected"),
        (("disconnect", "host", "web"), "is not connected to network host"),
        (("disconnect", "none", "web"), "is not connected to network none"),
        (("disconnect", "mine", "bare"), "is not connected to network mine"),
    ):
        assert why in net.docker("network", *words).err, words
    net.cli("network", "disconnect", "--force", "none", "bare")
    net.cli("network", "connect", "mine", "bare")
    assert net.docker("exec", "bare", "ping", "-c", "1", "-W", "20", "web").code == 0


def test_a_bridge_of_the_hosts_own(net: NetworkHost) -> None:
    """One that an administrator has made is used, and stays; what is no bridge is not touched."""
    for line in ("link add br0 type bridge", "addr add 10.9.0.1/24 dev br0", "link set br0 up"):
        assert net.on_host("ip", *line.split()).code == 0
    index = net.on_host("ip", "link", "show", "br0").text.split()[0]
    option = "com.docker.network.bridge.name="
    net.cli("network", "create", "--subnet", "10.9.0.0/24", "-o", f"{option}br0", "mine")
    serve(net, "web", "--network", "mine", "-p", "8080:80")
    assert net.fetch(HOST, 8080, lan="lan") == "hi"
    net.cli("rm", "-f", "web")
    net.cli("network", "rm", "mine")
    shown = net.on_host("ip", "addr", "show", "br0").text
    assert "inet 10.9.0.1/24" in shown
    assert "group default" in shown
    assert shown.split()[0] == index  # no other one of that name
    net.on_host("ip", "link", "delete", "br0")
    out = net.on_host("ip", "addr", "show", "out").text
    refused = net.docker("network", "create", "-o", f"{option}out", "mine")
    assert "existing interface out is not a bridge" in refused.err
    net.cli("network", "create", "-o", f"{option}later", "mine")
    net.on_host("ip", *"link add later type veth peer name end".split())
    late = net.docker("run", "--rm", "--network", "mine", "busybox", "true")
    assert "existing interface later is not a bridge" in late.err
    net.cli("network", "rm", "mine")
    assert "inet " not in net.on_host("ip", "addr", "show", "later").text  # it is there, as it was
    assert net.on_host("ip", "addr", "show", "out").text == out
    net.on_host("ip", "link", "delete", "later")


def test_sampand_is_killed_and_comes_back(net: NetworkHost) -> None:
    serve(net, "web", "-p", "8080:80")
    idle(net, "gone", "-p", "8090:80")
    veths = _interfaces(net)
    assert len(veths) == 2
    pid = int(net.docker("inspect", "-f", "{{.State.Pid}}", "gone").text)
    net.kill()
    assert net.fetch(HOST, 8080, lan="lan") == "hi"
    os.kill(pid, signal.SIGKILL)
    net.on_host("ip", "link", "add", f"{veths[0][:6]}00000000", "type", "dummy")
    net.start()
    assert net.fetch(HOST, 8080, lan="lan") == "hi"
    assert len(wait_for(lambda: len(_interfaces(net)) == 1 and _interfaces(net), "swept")) == 1
    idle(net, "next", "-p", "8090:80")
    assert settings(net, "next")["IPAddress"] == "172.17.0.3"
    taken = net.docker("run", "--rm", "-p", "8080:80", "busybox", "true")
    assert "port is already allocated" in taken.err


def _interfaces(net: NetworkHost) -> list[str]:
    names = net.on_host("ls", "/proc/sys/net/ipv4/conf").text.split()
    return [name for name in names if name.startswith("sv")]


def test_bridge_removed_by_hand(net: NetworkHost) -> None:
    idle(net, "before")
    bridge = json.loads(net.docker("network", "inspect", "bridge").text)[0]["Options"][
        "com.docker.network.bridge.name"
    ]
    net.docker("rm", "-f", "before")
    net.on_host("ip", "link", "delete", bridge)
    done = net.docker("run", "--rm", "busybox", "ping", "-c", "1", "-W", "20", "192.0.2.9")
    assert done.code == 0, done.err


def test_rules_can_be_read(net: NetworkHost) -> None:
    """What `nft list` prints is for people."""
    net.docker("network", "create", "-o", "com.docker.network.bridge.name=front", "mine")
    idle(net, "web", "--network", "mine", "-p", "8080:80")
    shown = net.on_host("nft", "list", "ruleset").text
    assert re.search(r'set own {[^}]*elements = {[^}]*"front"', shown)
    assert re.search(r'"front" \. 172\.\d+\.0\.2', shown)
    assert re.search(r"tcp \. 8080 : 172\.\d+\.0\.2 \. 80", shown)


def test_nothing_is_left(net: NetworkHost) -> None:
    for _ in range(5):
        net.docker("run", "--rm", "-p", "8080:80", "busybox", "true")
    wait_for(lambda: _interfaces(net) == [], "pairs are removed")
