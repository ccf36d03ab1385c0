"""Containers reach each other by name, by the docker CLI: networks, aliases, restarts of everything."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.system.network_host import NetworkHost
from tests.system.sampand import DOCKER, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]


def docker(net: NetworkHost, *arguments: str, fails: str = "") -> str:
    done = subprocess.run(
        [DOCKER, *arguments],
        env=net.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode != 0) == bool(fails), done.stdout + done.stderr
    assert fails in done.stderr
    return done.stdout.strip()


def run(net: NetworkHost, name: str, *options: str) -> None:
    docker(net, "run", "-d", "--name", name, *options, "busybox", "sleep", "600")


def look_up(net: NetworkHost, container: str, name: str) -> str:
    """Return what nslookup prints inside a container, whether it finds the name or not."""
    return docker(net, "exec", container, "sh", "-c", f"nslookup {name} 2>&1; true")


def address(net: NetworkHost, container: str, network: str) -> str:
    form = '{{(index .NetworkSettings.Networks "' + network + '").IPAddress}}'
    return docker(net, "inspect", "-f", form, container)


def dns_pid(net: NetworkHost) -> int:
    return int(Path(net.run, "dns", "dns.lock").read_text() or 0)  # "" for a moment


def test_two_containers_reach_each_other_by_name(net: NetworkHost) -> None:
    docker(net, "network", "create", "--internal", "front")
    run(net, "one", "--network", "front")
    run(net, "two", "--network", "front", "--network-alias", "database", "--hostname", "deux")
    assert "nameserver 127.0.0.11" in docker(net, "exec", "one", "cat", "/etc/resolv.conf")
    assert "ndots:0" in docker(net, "exec", "one", "cat", "/etc/resolv.conf")
    docker(net, "exec", "one", "ping", "-c", "1", "-W", "5", "two")
    docker(net, "exec", "two", "ping", "-c", "1", "-W", "5", "one.front")
    two = address(net, "two", "front")
    short_id = docker(net, "inspect", "-f", "{{.Id}}", "two")[:12]
    for name in ("database", "deux", short_id, "TWO"):
        assert f"Address: {two}" in look_up(net, "one", name), name
    assert "two.front" in look_up(net, "one", two)
    assert "NXDOMAIN" in look_up(net, "one", "nobody")


def test_networks_do_not_see_each_others_names(net: NetworkHost) -> None:
    docker(net, "network", "create", "--internal", "front")
    docker(net, "network", "create", "--internal", "back")
    run(net, "one", "--network", "front")
    run(net, "two", "--network", "back")
    assert "NXDOMAIN" in look_up(net, "one", "two")
    docker(net, "network", "connect", "--alias", "second", "front", "two")
    assert address(net, "two", "front") in look_up(net, "one", "second")
    assert address(net, "one", "front") in look_up(net, "two", "one")
    docker(net, "network", "disconnect", "front", "two")
    assert "NXDOMAIN" in look_up(net, "one", "two")
    assert "NXDOMAIN" in look_up(net, "two", "one")


def test_a_stopped_containers_name_is_gone_and_comes_back(net: NetworkHost) -> None:
    docker(net, "network", "create", "--internal", "front")
    run(net, "one", "--network", "front")
    run(net, "two", "--network", "front")
    docker(net, "stop", "-t", "0", "two")
    assert "NXDOMAIN" in look_up(net, "one", "two")
    docker(net, "start", "two")
    assert address(net, "two", "front") in look_up(net, "one", "two")


def test_names_outlive_sampand_and_a_killed_sampan_dns(net: NetworkHost) -> None:
    docker(net, "network", "create", "front")
    run(net, "one", "--network", "front")
    run(net, "two", "--network", "front")
    two = address(net, "two", "front")
    pid = dns_pid(net)
    state = docker(net, "inspect", "-f", "{{.State.Pid}}", "one")
    net.kill()
    inside = ["nsenter", "-t", state, "-n", "busybox", "nslookup", "two", "127.0.0.11"]
    found = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=30)
    assert f"Address: {two}" in found.stdout, found
    net.start()
    assert dns_pid(net) == pid
    assert two in look_up(net, "one", "two")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: dns_pid(net) != pid, "another sampan-dns", timeout_s=5)
    wait_for(lambda: two in look_up(net, "one", "two"), "names again", timeout_s=5)
    run(net, "three", "--network", "front")
    assert address(net, "three", "front") in look_up(net, "one", "three")


def test_both_killed_it_comes_back_with_sampand(net: NetworkHost) -> None:
    docker(net, "network", "create", "front")
    run(net, "one", "--network", "front")
    pid = dns_pid(net)
    net.kill()
    os.kill(pid, signal.SIGKILL)
    net.start()
    assert address(net, "one", "front") in look_up(net, "one", "one")


def test_the_users_options_are_in_resolv_conf(net: NetworkHost) -> None:
    docker(net, "network", "create", "front")
    run(
        net,
        "one",
        *(
            "--network",
            "front",
            "--dns",
            "192.0.2.53",
            "--dns-search",
            "lan.example",
            "--dns-option",
            "timeout:1",
        ),
    )
    lines = docker(net, "exec", "one", "cat", "/etc/resolv.conf").splitlines()
    assert lines.pop().startswith("# sampan: ")  # tells our text from a user's (engine/networks/hostfiles.py)
    assert lines[1:] == [
        "nameserver 127.0.0.11",
        "search lan.example",
        "options timeout:1 ndots:0",
        "# ExtServers: [192.0.2.53]",
    ]


def test_the_default_bridge_has_no_names(net: NetworkHost) -> None:
    run(net, "one", "--network", "bridge")
    assert "127.0.0.11" not in docker(net, "exec", "one", "cat", "/etc/resolv.conf")


def test_an_alias_of_several_containers_gives_them_all(net: NetworkHost) -> None:
    docker(net, "network", "create", "front")
    for name in ("r1", "r2", "r3"):
        run(net, name, "--network", "front", "--network-alias", "service")
    want = {address(net, name, "front") for name in ("r1", "r2", "r3")}
    text = look_up(net, "r1", "service")
    assert all(one in text for one in want), text
