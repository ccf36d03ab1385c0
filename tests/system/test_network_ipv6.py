"""IPv6 networks, gateway modes, driver options: by the docker CLI. Who reaches what: test_network_matrix."""

from __future__ import annotations

import json
import re

from tests.system.network_host import HOST6, LAN, LAN6, NetworkHost, idle, serve, settings
from tests.system.sampand import needs_busybox, needs_docker_28, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]
PREFIX = "com.docker.network.bridge."


def inside(net: NetworkHost, name: str, *command: str) -> str:
    return net.docker("exec", name, *command).text


def bridge_of(net: NetworkHost, network: str) -> str:
    return f"br-{net.cli('network', 'inspect', '-f', '{{.Id}}', network)[:12]}"


def test_unique_local_subnets(net: NetworkHost) -> None:
    for name in ("one", "two"):
        net.cli("network", "create", "--ipv6", name)
    pools = [
        json.loads(net.cli("network", "inspect", "-f", "{{json .IPAM.Config}}", name))[1]
        for name in ("one", "two")
    ]
    first, second = (pool["Subnet"] for pool in pools)
    assert re.fullmatch(r"fd[0-9a-f:]+::/64", first)
    assert first != second
    assert first[:14] == second[:14]
    assert pools[0]["Gateway"] == first.replace("/64", "1")
    assert net.cli("network", "inspect", "-f", "{{.EnableIPv6}}", "one") == "true"


def test_inside(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv6", "--subnet", "fd77:1::/64", "--gateway", "fd77:1::9", "mine")
    mac = ("--mac-address", "02:42:00:00:00:77")
    idle(net, "web", "--network", "mine", "--ip6", "fd77:1::77", *mac, "-h", "web")
    assert inside(net, "web", "cat", "/sys/class/net/eth0/address") == mac[1]
    found = settings(net, "web")["Networks"]["mine"]
    assert (found["GlobalIPv6Address"], found["GlobalIPv6PrefixLen"]) == ("fd77:1::77", 64)
    assert found["IPv6Gateway"] == "fd77:1::9"
    assert "inet6 fd77:1::77/64 scope global" in inside(net, "web", "ip", "-6", "addr", "show", "eth0")
    assert "default via fd77:1::9 dev eth0" in inside(net, "web", "ip", "-6", "route")
    assert inside(net, "web", "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra") == "0"
    assert "fd77:1::77\tweb" in inside(net, "web", "cat", "/etc/hosts")
    [shown] = json.loads(net.cli("network", "inspect", "mine"))
    assert [one["IPv6Address"] for one in shown["Containers"].values()] == ["fd77:1::77/64"]
    idle(net, "other", "--network", "mine")
    assert settings(net, "other")["Networks"]["mine"]["GlobalIPv6Address"] == "fd77:1::1"
    assert "fd77:1::77" in inside(net, "other", "nslookup", "-type=aaaa", "web")
    assert net.docker("exec", "other", "ping", "-6", "-c", "1", "-W", "20", "web").code == 0
    taken = net.docker("run", "--network", "mine", "--ip6", "fd77:1::77", "busybox", "true")
    assert "Address already in use: fd77:1::77 in network mine" in taken.err
    away = net.docker("run", "--network", "mine", "--ip6", "fd78::1", "busybox", "true")
    assert "no configured subnet contains IP address fd78::1" in away.err


def test_a_port_at_the_loopback(net: NetworkHost) -> None:
    """It is reached where frames on bridges do not pass the host's rules; else refused at once, not lost."""
    frames = "net.bridge.bridge-nf-call-ip6tables"
    before = net.on_host("sysctl", "-n", frames).text
    net.cli("network", "create", "--ipv6", "mine")
    net.cli("network", "create", "--ipv6", "other")
    try:
        net.on_host("sysctl", "-qw", f"{frames}=0")
        serve(net, "web", "--network", "mine", "-p", "[::1]:8081:80", "-p", "8080:80")
        serve(net, "two", "--network", "other", "-p", "[::1]:8082:80")
        assert [net.fetch("::1", port) for port in (8080, 8081, 8082)] == ["hi"] * 3
        assert net.fetch(HOST6, 8081) == ""
        assert net.fetch(HOST6, 8081, lan="lan") == ""
        net.on_host("ip", "link", "delete", bridge_of(net, "mine"))
        wait_for(lambda: net.fetch("::1", 8081) == "hi", "the bridge is there again")
        net.on_host("sysctl", "-qw", f"{frames}=1")
        idle(net, "three", "--network", "mine", "-p", "8083:80")
        refused = net.on_host("busybox", "nc", "-w", "9", "::1", "8081")
        assert "refused" in refused.err
    finally:
        net.on_host("sysctl", "-qw", f"{frames}={before or 1}")


def test_an_ipv4_network_has_none(net: NetworkHost) -> None:
    net.cli("network", "create", "plain")
    idle(net, "web", "--network", "plain")
    assert inside(net, "web", "ip", "-6", "addr", "show", "eth0") == ""
    asked = net.docker("run", "--network", "plain", "--ip6", "fd77::5", "busybox", "true")
    assert "network plain has no IPv6" in asked.err
    bound = net.docker("run", "--network", "plain", "-p", "[::]:8080:80", "busybox", "true")
    assert "none of the container's networks leads outside by IPv6" in bound.err
    net.cli("network", "create", "--ipv6", "--subnet", "fd77:2::/64", "six")
    net.cli("network", "connect", "six", "web")
    assert "fd77:2::2/64" in inside(net, "web", "ip", "-6", "addr", "show", "eth1")
    assert "default via fd77:2::1" in inside(net, "web", "ip", "-6", "route")
    net.cli("network", "disconnect", "six", "web")
    assert "default" not in inside(net, "web", "ip", "-6", "route")


def test_outside_is_reached_by_nat66(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv6", "mine")
    idle(net, "web", "--network", "mine")
    assert net.docker("exec", "web", "ping", "-6", "-c", "1", "-W", "20", LAN6).code == 0
    net.cli("network", "create", "--ipv6", "-o", f"{PREFIX}enable_ip_masquerade=false", "open")
    idle(net, "bare", "--network", "open")
    assert net.docker("exec", "bare", "ping", "-6", "-c", "1", "-W", "1", LAN6).code != 0


def test_ports(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv6", "mine")
    serve(net, "web", "--network", "mine", "-p", "8080:80", "-p", f"[{HOST6}]:8082:80", "-p", "83")
    ports = settings(net, "web")["Ports"]
    assert ports["80/tcp"] == [
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
        {"HostIp": "::", "HostPort": "8080"},
        {"HostIp": HOST6, "HostPort": "8082"},
    ]
    assert len({one["HostPort"] for one in ports["83/tcp"]}) == 1
    assert net.fetch(HOST6, 8080, lan="lan") == "hi"
    assert net.fetch(HOST6, 8082, lan="lan") == "hi"
    taken = net.docker("run", "--network", "mine", "-p", "[::]:8080:80", "busybox", "true")
    assert "Bind for [::]:8080 failed: port is already allocated" in taken.err
    net.kill()
    net.start()
    assert net.fetch(HOST6, 8080, lan="lan") == "hi"
    again = net.docker("run", "--network", "mine", "-p", "[::]:8080:80", "busybox", "true")
    assert "port is already allocated" in again.err
    idle(net, "next", "--network", "mine")
    assert settings(net, "next")["Networks"]["mine"]["GlobalIPv6Address"].endswith("::3")


def test_sysctl(net: NetworkHost) -> None:
    net.cli("network", "create", "--ipv6", "mine")
    shown = net.cli(
        *("run", "--rm", "--network", "mine", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1"),
        *("busybox", "ip", "-6", "addr", "show", "eth0"),
    )
    assert shown == ""


def test_routed_mode_has_no_port_of_the_host(net: NetworkHost) -> None:
    mode = ("-o", f"{PREFIX}gateway_mode_ipv6=routed")
    net.cli("network", "create", "--ipv6", "--subnet", "2001:db8:9::/64", *mode, "mine")
    idle(net, "web", "--network", "mine", "-p", "8080:80")
    assert settings(net, "web")["Ports"]["80/tcp"] == [
        {"HostIp": "::", "HostPort": ""},
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
    ]
    assert "0.0.0.0:8080->80/tcp" in net.cli("ps")
    net.on_lan("ip", "route", "add", "2001:db8:9::/64", "via", HOST6)
    assert net.on_lan("/bin/busybox", "ping", "-6", "-c", "3", "-W", "5", "2001:db8:9::2").code == 0
    assert net.docker("exec", "web", "ping", "-6", "-c", "1", "-W", "20", LAN6).code == 0  # its own address
    net.on_lan("ip", "route", "del", "2001:db8:9::/64")


def test_isolated_and_inhibited_bridges_have_no_address(net: NetworkHost) -> None:
    mode = ("-o", f"{PREFIX}gateway_mode_ipv4=isolated", "-o", f"{PREFIX}gateway_mode_ipv6=isolated")
    net.cli("network", "create", "--ipv6", "--internal", *mode, "alone")
    net.cli("network", "create", "-o", f"{PREFIX}inhibit_ipv4=true", "bare")
    for name in ("alone", "bare"):
        idle(net, f"in-{name}", "--network", name)
        assert "inet" not in net.on_host("ip", "addr", "show", bridge_of(net, name)).text.replace(
            "inet6 fe80", ""
        )
    idle(net, "second", "--network", "alone")
    assert net.docker("exec", "second", "ping", "-c", "1", "-W", "20", "in-alone").code == 0


def test_options(net: NetworkHost) -> None:
    net.on_host("ip", "addr", "add", "192.0.2.77/24", "dev", "out")
    net.cli(
        *("network", "create", "-o", "com.docker.network.host_ipv4=192.0.2.77"),
        *("-o", "com.docker.network.container_iface_prefix=lan", "-o", "com.example.nothing=1"),
        *("-o", f"{PREFIX}host_binding_ipv4=127.0.0.1", "mine"),
    )
    serve(net, "web", "--network", "mine", "-p", "8080:80")
    assert "lan0" in inside(net, "web", "ip", "link")
    assert settings(net, "web")["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8080"}]
    seen = net.on_lan("timeout", "5", "sh", "-c", "true")
    assert seen.code == 0
    assert net.docker("exec", "web", "ping", "-c", "1", "-W", "20", LAN).code == 0
    wait_for(lambda: "192.0.2.77" in net.on_lan("ip", "neigh").text, "packets came from that address")
    answer = net.call(
        "POST", "/networks/create", {"Name": "told", "Options": {"com.docker.network.bridge.nonsense": "1"}}
    )
    assert "com.docker.network.bridge.nonsense is not known" in answer["Warning"]


def test_sysctls_of_an_interface(net: NetworkHost) -> None:
    option = "driver-opt=com.docker.network.endpoint.sysctls"
    net.cli("network", "create", "mine")
    idle(
        net,
        "web",
        "--network",
        f'name=mine,"{option}=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.accept_local=1"',
    )
    for name in ("log_martians", "accept_local"):
        assert net.cli("exec", "web", "cat", f"/proc/sys/net/ipv4/conf/eth0/{name}") == "1"
    net.cli("network", "create", "more")
    flag = ("--driver-opt", "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1")
    net.cli("network", "connect", *flag, "more", "web")
    assert net.cli("exec", "web", "cat", "/proc/sys/net/ipv4/conf/eth1/log_martians") == "1"
    wrong = net.docker("run", "--network", f"name=mine,{option}=kernel.pid_max=5", "busybox", "true")
    assert "invalid interface sysctl 'kernel.pid_max=5'" in wrong.err
    unknown = net.docker(
        "run", "--network", f"name=mine,{option}=net.ipv4.conf.IFNAME.nonsense=5", "busybox", "true"
    )
    assert "this kernel has no sysctl net.ipv4.conf.eth0.nonsense" in unknown.err


@needs_docker_28
def test_ports_follow_the_gateway(net: NetworkHost) -> None:
    net.cli("network", "create", "b")
    net.cli("network", "create", "a")
    serve(net, "web", "--network", "b", "-p", "8080:80")
    net.cli("network", "connect", "--gw-priority", "1", "a", "web")
    assert net.fetch("192.0.2.1", 8080, lan="lan") == "hi"
    net.kill()
    net.start()
    assert net.fetch("192.0.2.1", 8080, lan="lan") == "hi"
    net.cli("network", "disconnect", "a", "web")
    assert net.fetch("192.0.2.1", 8080, lan="lan") == "hi"
    net.cli("network", "disconnect", "b", "web")
    assert net.fetch("192.0.2.1", 8080, lan="lan") == ""
