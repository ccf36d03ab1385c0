"""Links, extra hosts, MAC addresses, gateway priority, files that follow networks: by the docker CLI."""

from __future__ import annotations

import json

from tests.system.network_host import NetworkHost, idle, settings
from tests.system.sampand import needs_busybox, needs_docker_28, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]


def inside(net: NetworkHost, name: str, *command: str) -> str:
    return net.docker("exec", name, *command).text


def pings(net: NetworkHost, name: str, target: str) -> bool:
    return net.docker("exec", name, "ping", "-c", "1", "-W", "20", target).code == 0


def test_link_on_the_default_network(net: NetworkHost) -> None:
    idle(net, "db", "--expose", "5432-5433", "--expose", "53/udp", "-e", "MODE=fast", "-h", "data")
    idle(net, "web", "--link", "db:my-db", "--link", "db", "-e", "MY_DB_NAME=own")
    address = settings(net, "db")["IPAddress"]
    variables = inside(net, "web", "env").splitlines()
    for line in (
        f"MY_DB_PORT=tcp://{address}:5432",
        f"MY_DB_PORT_5432_TCP_ADDR={address}",
        f"MY_DB_PORT_5432_TCP_END=tcp://{address}:5433",
        "MY_DB_PORT_5432_TCP_PORT_START=5432",
        f"MY_DB_PORT_53_UDP=udp://{address}:53",
        "MY_DB_ENV_MODE=fast",
        "MY_DB_NAME=own",
        "DB_NAME=/web/db",
    ):
        assert line in variables
    assert not any(line.startswith("MY_DB_ENV_PATH") for line in variables)
    hosts = inside(net, "web", "cat", "/etc/hosts")
    assert f"{address}\tmy-db data db\n" in hosts
    assert f"{address}\tdb data\n" in hosts
    assert pings(net, "web", "my-db")
    links = net.docker("inspect", "-f", "{{json .HostConfig.Links}}", "web").text
    assert json.loads(links) == ["/db:/web/my-db", "/db:/web/db"]


def test_link_follows_a_new_address_and_name(net: NetworkHost) -> None:
    idle(net, "first")
    idle(net, "db")
    idle(net, "web", "--link", "db:database")
    inside(net, "web", "sh", "-c", "echo 10.0.0.1 by-hand >>/etc/hosts")
    net.docker("stop", "-t", "0", "db", "first")
    idle(net, "other")
    net.docker("rename", "db", "store")
    net.docker("start", "store")
    address = settings(net, "store")["IPAddress"]
    hosts = inside(net, "web", "cat", "/etc/hosts")
    assert address in hosts
    assert "10.0.0.1 by-hand" in hosts
    assert pings(net, "web", "database")
    assert json.loads(net.docker("inspect", "-f", "{{json .HostConfig.Links}}", "web").text) == [
        "/store:/web/database"
    ]


def test_link_is_removed_by_its_path(net: NetworkHost) -> None:
    idle(net, "db")
    idle(net, "web", "--link", "db:database", "--link", "db:other")
    net.cli("rm", "--link", "web/database")
    assert json.loads(net.cli("inspect", "-f", "{{json .HostConfig.Links}}", "web")) == ["/db:/web/other"]
    net.cli("restart", "-t", "0", "web")
    assert "database" not in inside(net, "web", "cat", "/etc/hosts")
    assert "container web has no link database" in net.docker("rm", "--link", "web/database").err
    assert "cannot remove the default link name" in net.docker("rm", "--link", "web").err
    assert net.cli("inspect", "-f", "{{.State.Running}}", "web") == "true"


@needs_docker_28
def test_link_refusals(net: NetworkHost) -> None:
    missing = net.docker("run", "--link", "nobody:x", "busybox", "true")
    assert "could not get container for nobody: No such container: nobody" in missing.err
    wrong = net.docker("run", "--link", "a:b:c", "busybox", "true")
    assert "bad format for links: a:b:c" in wrong.err
    host = net.docker("run", "--network", "host", "--link", "a:b", "busybox", "true")
    assert "host type networking can't be used with links" in host.err
    idle(net, "db")
    net.docker("kill", "db")
    stopped = net.docker("run", "--name", "web", "--link", "db:x", "busybox", "true")
    assert "Cannot link to a non running container: /db AS /web/x" in stopped.err


def test_link_on_a_user_network_is_a_name_for_one(net: NetworkHost) -> None:
    net.docker("network", "create", "mine")
    idle(net, "db", "--network", "mine")
    idle(net, "web", "--network", "mine", "--link", "db:database")
    idle(net, "late")
    assert net.docker("network", "connect", "--link", "db:later", "mine", "late").code == 0
    assert pings(net, "web", "database")
    assert pings(net, "late", "later")
    assert not pings(net, "late", "database")


def test_rename_is_a_new_name_in_dns(net: NetworkHost) -> None:
    net.docker("network", "create", "mine")
    idle(net, "db", "--network", "mine", "--network-alias", "data")
    idle(net, "web", "--network", "mine")
    net.docker("rename", "db", "store")
    assert pings(net, "web", "store")
    assert pings(net, "web", "data")
    assert not pings(net, "web", "db")
    assert settings(net, "store")["Networks"]["mine"]["DNSNames"][0] == "store"


def test_host_gateway(net: NetworkHost) -> None:
    net.docker("network", "create", "--subnet", "10.9.0.0/24", "mine")
    for network, gateway in (("bridge", "172.17.0.1"), ("mine", "10.9.0.1")):
        done = net.docker(
            "run",
            "--rm",
            "--network",
            network,
            "--add-host",
            "host.docker.internal:host-gateway",
            "--add-host",
            "other=10.1.1.1",
            "busybox",
            "sh",
            "-c",
            "cat /etc/hosts; ping -c 1 -W 2 host.docker.internal",
        )
        assert done.code == 0, done.err
        assert f"{gateway}\thost.docker.internal\n" in done.text + "\n"
        assert "10.1.1.1\tother" in done.text
    assert "invalid IP address" in net.docker("run", "--add-host", "a:b", "busybox", "true").err


def test_mac_address(net: NetworkHost) -> None:
    net.docker("network", "create", "mine")
    idle(net, "web", "--mac-address", "02:42:00:00:00:77")
    assert settings(net, "web")["MacAddress"] == "02:42:00:00:00:77"
    assert inside(net, "web", "cat", "/sys/class/net/eth0/address") == "02:42:00:00:00:77"
    idle(net, "other", "--network", "name=mine,mac-address=02:42:00:00:00:77")
    taken = net.docker("run", "--network", "name=mine,mac-address=02:42:00:00:00:77", "busybox", "true")
    assert "Address already in use: MAC address 02:42:00:00:00:77 in network mine" in taken.err
    group = net.docker("run", "--mac-address", "03:42:00:00:00:77", "busybox", "true")
    assert "is not a mac address of one interface" in group.err
    net.docker("restart", "-t", "0", "web")
    assert inside(net, "web", "cat", "/sys/class/net/eth0/address") == "02:42:00:00:00:77"


def test_neighbours_learn_another_mac_address(net: NetworkHost) -> None:
    net.cli("network", "create", "--subnet", "10.9.0.0/24", "mine")
    idle(net, "peer", "--network", "mine")
    for flags in (("--mac-address", "02:42:00:00:00:99"), (), ("--mac-address", "02:42:00:00:00:98")):
        idle(net, "web", "--network", "mine", "--ip", "10.9.0.7", *flags)
        assert net.docker("exec", "peer", "ping", "-c", "1", "-W", "20", "10.9.0.7").code == 0, flags
        net.cli("rm", "-f", "web")


@needs_docker_28
def test_long_syntax_and_gateway_priority(net: NetworkHost) -> None:
    net.docker("network", "create", "--subnet", "10.1.0.0/24", "a")
    net.docker("network", "create", "--subnet", "10.2.0.0/24", "b")
    net.docker("network", "create", "--subnet", "10.3.0.0/24", "c")
    net.docker("network", "create", "--subnet", "10.4.0.0/24", "--internal", "inner")
    idle(
        net,
        "web",
        "--network",
        "name=b,alias=www,alias=w,ip=10.2.0.9,driver-opt=com.docker.network.endpoint.ifname=front0",
        "--network",
        "name=a",
        "--network",
        "name=inner,gw-priority=9",
        "-p",
        "8080:80",
    )
    assert "default via 10.1.0.1" in inside(net, "web", "ip", "route")  # the first by name
    assert "10.2.0.9" in inside(net, "web", "ip", "addr", "show", "front0")
    found = settings(net, "web")["Networks"]["b"]
    assert (found["Aliases"], found["IPAddress"]) == (["www", "w"], "10.2.0.9")
    assert net.docker("network", "connect", "--gw-priority", "1", "c", "web").code == 0
    assert "default via 10.3.0.1" in inside(net, "web", "ip", "route")
    assert settings(net, "web")["Networks"]["c"]["GwPriority"] == 1
    net.docker("network", "disconnect", "c", "web")
    assert "default via 10.1.0.1" in inside(net, "web", "ip", "route")
    net.docker("network", "connect", "--link-local-ip", "169.254.7.7", "c", "web")
    assert "169.254.7.7/16" in inside(net, "web", "ip", "addr")
    wrong = net.docker("network", "connect", "--link-local-ip", "10.0.0.1", "c", "web")
    assert "invalid link-local IP address" in wrong.err


def test_files_follow_networks(net: NetworkHost) -> None:
    net.docker("network", "create", "mine")
    idle(net, "db", "--network", "mine")
    idle(net, "web", "-h", "web")
    idle(net, "edited")
    inside(net, "edited", "sh", "-c", "echo nameserver 10.9.9.9 >/etc/resolv.conf")
    before = inside(net, "web", "cat", "/etc/hosts")
    plain = inside(net, "web", "cat", "/etc/resolv.conf")
    for name in ("web", "edited"):
        assert net.docker("network", "connect", "mine", name).code == 0
    assert pings(net, "web", "db")
    address = settings(net, "web")["Networks"]["mine"]["IPAddress"]
    assert inside(net, "web", "cat", "/etc/hosts") == f"{before}\n{address}\tweb"
    assert inside(net, "edited", "cat", "/etc/resolv.conf") == "nameserver 10.9.9.9"
    net.docker("network", "disconnect", "mine", "web")
    assert inside(net, "web", "cat", "/etc/hosts") == before
    assert inside(net, "web", "cat", "/etc/resolv.conf") == plain


def test_filters(net: NetworkHost) -> None:
    net.docker("network", "create", "--label", "a=b", "mine")
    net.docker("network", "create", "mine2")
    idle(net, "web", "--network", "mine2")

    def names(*filters: str) -> list[str]:
        flags = [word for one in filters for word in ("--filter", one)]
        done = net.docker("network", "ls", "--format", "{{.Name}}", *flags)
        assert done.code == 0, done.err
        return sorted(done.text.split())

    assert names("name=mine") == ["mine", "mine2"]
    assert names("name=^mine$") == ["mine"]
    assert names("driver=bridge", "type=custom") == ["mine", "mine2"]
    assert names("driver=brid") == []
    assert names("scope=local", "label=a") == ["mine"]
    assert names("dangling=true") == ["mine"]
    assert names("dangling=false") == ["bridge", "host", "mine2", "none"]
    assert names("type=builtin", "type=custom") == ["bridge", "host", "mine", "mine2", "none"]
    assert "invalid value for filter 'dangling'" in net.docker("network", "ls", "-f", "dangling=x").err
    assert "invalid filter 'nonsense'" in net.docker("network", "ls", "-f", "nonsense=x").err


def test_names_on_the_default_network(net: NetworkHost) -> None:
    net.stop()
    net.start("--default-network-names", "--host-gateway-ip", "192.0.2.7")
    try:
        idle(net, "db")
        idle(net, "web", "--add-host", "host:host-gateway")
        assert pings(net, "web", "db")
        assert settings(net, "db")["Networks"]["bridge"]["DNSNames"][0] == "db"
        assert "192.0.2.7\thost" in inside(net, "web", "cat", "/etc/hosts")
        net.kill()
        net.start("--default-network-names")
        wait_for(lambda: pings(net, "web", "db"), "names are known again")
    finally:
        net.remove_containers()
        net.stop()
        net.start()
