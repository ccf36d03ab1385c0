"""Our rules beside others': flushed ones come back, and chains that drop by policy let containers through."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.cli.harness import make_image, running_dockerd
from tests.system.network_host import HOST, LAN, NetworkHost, network_host
from tests.system.sampand import Result, needs_busybox, needs_root, wait_for

SERVER = "echo {0} >/tmp/index.html; exec httpd -f -h /tmp -p 80"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>{0}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""
pytestmark = [needs_root, needs_busybox]


@pytest.fixture(autouse=True)
def _clean(net: NetworkHost) -> Iterator[None]:
    yield
    for tool in ("iptables", "ip6tables"):
        for chain in ("INPUT", "FORWARD", "OUTPUT"):
            assert net.on_host(tool, "-P", chain, "ACCEPT").code == 0
        net.on_host(tool, "-F")
        net.on_host(tool, "-X")


def serve(net: NetworkHost, name: str, *flags: str) -> str:
    """Run a server that answers its name; return its address."""
    done = net.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", SERVER.format(name))
    assert done.code == 0, done.err
    wait_for(lambda: net.docker("exec", name, "nc", "-w", "1", "127.0.0.1", "80").code == 0, "it listens")
    return net.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).text


def filter_table(net: NetworkHost) -> str:
    return net.on_host("iptables-save", "-t", "filter").text


def pings_lan(net: NetworkHost, name: str) -> bool:
    return net.docker("exec", name, "ping", "-c", "1", "-W", "1", LAN).code == 0


def drop_forwarded(net: NetworkHost, place: str) -> None:
    """Leave what dockerd and ufw leave: a policy, and a place for others' rules."""
    for line in (f"-N {place}", f"-A FORWARD -j {place}", f"-A {place} -j RETURN", "-P FORWARD DROP"):
        assert net.on_host("iptables", *line.split()).code == 0


def own_table(net: NetworkHost) -> str:
    tables = net.on_host("nft", "list", "tables", "inet").text.splitlines()
    return next(line.split()[-1] for line in tables if line.split()[-1].startswith("sampan"))


@pytest.mark.parametrize(
    "harm", ["flush ruleset", "delete table inet {0}", "flush chain inet {0} prerouting"]
)
def test_rules_come_back(net: NetworkHost, harm: str) -> None:
    serve(net, "web", "-p", "8080:80")
    assert net.fetch(HOST, 8080, lan="lan") == "web"
    show = ("nft", "list", "table", "inet", own_table(net))
    before = net.on_host(*show).text
    assert net.on_host("nft", harm.format(show[-1])).code == 0
    wait_for(lambda: net.on_host(*show).text == before, "the rules are back", 5)
    assert net.fetch(HOST, 8080, lan="lan") == "web"


def test_a_flush_and_a_removal_at_once(net: NetworkHost) -> None:
    """What ends while the table is gone is not in the new one."""
    serve(net, "web", "-p", "8080:80")
    serve(net, "other", "-p", "8081:80")
    table = own_table(net)
    net.on_host("nft", "flush", "ruleset")
    net.docker("rm", "-f", "other")
    ports = wait_for(
        lambda: net.on_host("nft", "list", "map", "inet", table, "ports4").text, "the map is back", 5
    )
    assert "8080" in ports
    assert "8081" not in ports


@pytest.mark.parametrize("place", ["DOCKER-USER", "ufw-user-forward"])
def test_a_chain_that_drops(net: NetworkHost, place: str) -> None:
    serve(net, "web", "-p", "8080:80")
    assert pings_lan(net, "web")
    before = filter_table(net)
    drop_forwarded(net, place)
    wait_for(lambda: pings_lan(net, "web"), "the outside is reached")
    assert net.fetch(HOST, 8080, lan="lan") == "web"
    table = own_table(net)
    saved = filter_table(net).splitlines()
    jumps = [line for line in saved if line.startswith(f"-A {place} ")]
    assert len(jumps) == 2  # before the RETURN
    assert f'--comment "{table}: containers" -j {table.upper()}-FORWARD' in jumps[0]
    assert f"a rule in {place} lets containers through" in net.sampan("system", "check").text
    net.on_host("iptables", "-P", "FORWARD", "ACCEPT")
    wait_for(lambda: table.upper() not in filter_table(net), "our rule is gone")
    net.on_host("iptables", "-F")
    net.on_host("iptables", "-X")
    assert [line for line in filter_table(net).splitlines() if line[0] not in "#:"] == [
        line for line in before.splitlines() if line[0] not in "#:"
    ]


def test_a_chain_of_nobody_we_know(net: NetworkHost) -> None:
    """An administrator's own policy is kept, and said."""
    serve(net, "web")
    net.on_host("nft", "add table inet mine")
    net.on_host("nft", "add chain inet mine guard { type filter hook forward priority 0; policy drop; }")
    try:
        found = wait_for(lambda: net.sampan("system", "check").text, "it is found")
        wait_for(lambda: "guard" in net.sampan("system", "check").text, "it is found")
        assert not pings_lan(net, "web"), found
        assert net.sampan("system", "check").code == 1
        assert net.on_host("nft", "list chain inet mine guard").text.count("\n") == 4
    finally:
        net.on_host("nft", "delete table inet mine")
    wait_for(lambda: pings_lan(net, "web"), "it is reached again")


def test_beside_dockerd(net: NetworkHost, tmp_path: Path) -> None:
    """Each engine's containers reach the outside, and only published ports of the other's."""
    address = serve(net, "ours", "-p", "8080:80")
    net.on_host("sysctl", "-qw", "net.ipv4.ip_forward=0")  # dockerd's policy is to drop where it turns it on
    with running_dockerd(tmp_path, network=net.spaces[0]) as docker:
        make_image(docker.host)

        def dockerd(*words: str) -> Result:
            done = subprocess.run(["docker", "-H", docker.host, *words], capture_output=True, timeout=60)
            return Result(done.returncode, done.stdout, done.stderr.decode())

        script = f"mkdir -p /tmp; {SERVER.format('theirs')}"
        done = dockerd("run", "-d", "--name", "theirs", "-p", "8090:80", "busybox", "sh", "-c", script)
        assert done.code == 0, done.err
        assert dockerd("run", "-d", "--name", "hidden", "busybox", "sh", "-c", script).code == 0
        hidden = dockerd("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "hidden").text
        wait_for(lambda: net.fetch(hidden, 80) == "theirs", "it answers the host")
        wait_for(lambda: net.fetch(HOST, 8090, lan="lan") == "theirs", "theirs answers")
        wait_for(lambda: pings_lan(net, "ours"), "the outside is reached")

        def theirs_gets(target: str, port: int) -> str:
            command = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {target} {port} | tail -n 1"
            return dockerd("exec", "theirs", "sh", "-c", command).text

        assert net.fetch(HOST, 8080, lan="lan") == "ours"
        assert dockerd("exec", "theirs", "ping", "-c", "1", "-W", "1", LAN).code == 0
        assert net.fetch_from("ours", HOST, 8090) == "theirs"
        assert theirs_gets(HOST, 8080) == "ours"
        assert net.fetch_from("ours", hidden, 80) == ""
        assert theirs_gets(address, 80) == ""
        assert dockerd("network", "create", "another").code == 0  # dockerd still reads and writes its table
        serve(net, "second", "--network", "bridge", "-p", "8085:80")
        assert net.fetch(HOST, 8085, lan="lan") == "second"
        assert "Warning: table" not in net.on_host("iptables", "-S").err


@pytest.mark.skipif(shutil.which("ufw") is None, reason="no ufw (Debian: ufw)")
def test_beside_ufw(net: NetworkHost, tmp_path: Path) -> None:
    """The real ufw, with its files in a mount namespace of its own; its deny rules come before ours."""
    serve(net, "web", "-p", "8080:80", "-p", "8081:81")

    def ufw(*words: str) -> str:
        script = (
            f"mount --bind {tmp_path}/etc /etc/ufw && mount --bind {tmp_path}/run /run"
            f" && ufw {' '.join(words)}"
        )
        done = net.on_host("unshare", "--mount", "sh", "-c", script)
        assert done.code == 0, done.err + done.text
        return done.text

    shutil.copytree("/etc/ufw", tmp_path / "etc")
    (tmp_path / "run").mkdir()
    ufw("--force", "enable")
    assert ":FORWARD DROP" in filter_table(net)
    wait_for(lambda: pings_lan(net, "web"), "the outside is reached")
    assert net.fetch(HOST, 8080, lan="lan") == "web", filter_table(net)
    ufw("route", "deny", "proto", "tcp", "to", "any", "port", "80")
    wait_for(lambda: net.fetch(HOST, 8080, lan="lan") == "", "its rule comes first")
    assert pings_lan(net, "web")


def test_strict(tmp_path: Path) -> None:
    """`--firewall=strict`: the host's own forward chain decides on what comes to published ports."""
    with network_host(tmp_path, "--firewall=strict") as net:
        drop_forwarded(net, "DOCKER-USER")
        serve(net, "web", "-p", "8080:80")
        assert pings_lan(net, "web")
        assert net.fetch(HOST, 8080, lan="lan") == ""
        net.on_host("iptables", "-I", "FORWARD", "-p", "tcp", "--dport", "80", "-j", "ACCEPT")
        assert net.fetch(HOST, 8080, lan="lan") == "web"


@pytest.mark.skipif(shutil.which("firewalld") is None, reason="no firewalld (Debian: firewalld, dbus)")
def test_beside_firewalld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real firewalld on a bus of its own: bridges are in its zone as long as they are there."""
    bus = f"unix:path={tmp_path}/bus"
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus)
    shutil.copytree("/etc/firewalld", tmp_path / "etc")
    net = NetworkHost(tmp_path / "sampand")
    net.folder.mkdir()
    programs = []

    def begin(*words: str) -> None:
        bind = f"mount --bind {tmp_path}/etc /etc/firewalld && exec {' '.join(words)}"
        command = [*net.command(), "unshare", "--mount", "sh", "-c", bind]
        with (tmp_path / "programs.log").open("ab") as log:
            programs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def zone() -> set[str]:
        done = net.on_host("firewall-cmd", "--zone=trusted", "--list-interfaces")
        return set(done.text.split())

    try:
        (tmp_path / "bus.conf").write_text(BUS.format(bus))
        begin("dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--nopidfile")
        wait_for((tmp_path / "bus").exists, "the bus")
        begin("/usr/sbin/firewalld", "--nofork", "--nopid")
        show = ("nft", "list", "table", "inet", "firewalld")
        wait_for(lambda: "reject" in net.on_host(*show).text, "firewalld", 60)
        net.start()
        net.load_busybox()
        serve(net, "web", "-p", "8080:80")
        wait_for(lambda: pings_lan(net, "web"), "the outside is reached", 60)
        assert net.fetch(HOST, 8080, lan="lan") == "web"
        assert len(zone()) == 1
        assert "zone trusted lets containers through" in net.sampan("system", "check").text
        assert net.on_host("firewall-cmd", "--reload").code == 0
        wait_for(lambda: pings_lan(net, "web"), "the outside is reached", 60)
        assert net.docker("network", "create", "mine").code == 0
        serve(net, "second", "--network", "mine")
        wait_for(lambda: len(zone()) == 2, "both are in the zone", 60)
        net.docker("rm", "-f", "second")
        assert net.docker("network", "rm", "mine").code == 0
        wait_for(lambda: len(zone()) == 1, "one has left it", 60)
    finally:
        net.close()
        for program in reversed(programs):
            program.kill()
            program.wait()
