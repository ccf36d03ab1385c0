"""Containers reach each other by name, by the docker CLI: networks, aliases, restarts of everything."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.network_host import NetworkHost, network_host
from tests.system.sampand import DOCKER, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkHost]:
    with network_host(tmp_path_factory.mktemp("dns")) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def empty(daemon: NetworkHost) -> Iterator[None]:
    yield
    daemon.remove_containers()
    for network in docker(daemon, "network", "ls", "-q", "--filter", "type=custom").split():
        docker(daemon, "network", "rm", network)


def docker(daemon: NetworkHost, *arguments: str, fails: str = "") -> str:
    done = subprocess.run(
        [DOCKER, *arguments],
        env=daemon.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode != 0) == bool(fails), done.stdout + done.stderr
    assert fails in done.stderr
    return done.stdout.strip()


def run(daemon: NetworkHost, name: str, *options: str) -> None:
    docker(daemon, "run", "-d", "--name", name, *options, "busybox", "sleep", "600")


def look_up(daemon: NetworkHost, container: str, name: str) -> str:
    """Return what nslookup prints inside a container, whether it finds the name or not."""
    return docker(daemon, "exec", container, "sh", "-c", f"nslookup {name} 2>&1; true")


def address(daemon: NetworkHost, container: str, network: str) -> str:
    form = '{{(index .NetworkSettings.Networks "' + network + '").IPAddress}}'
    return docker(daemon, "inspect", "-f", form, container)


def dns_pid(daemon: NetworkHost) -> int:
    return int(Path(daemon.run, "dns", "dns.lock").read_text() or 0)  # "" for a moment


def test_two_containers_reach_each_other_by_name(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "--internal", "front")
    run(daemon, "one", "--network", "front")
    run(daemon, "two", "--network", "front", "--network-alias", "database", "--hostname", "deux")
    assert "nameserver 127.0.0.11" in docker(daemon, "exec", "one", "cat", "/etc/resolv.conf")
    assert "ndots:0" in docker(daemon, "exec", "one", "cat", "/etc/resolv.conf")
    docker(daemon, "exec", "one", "ping", "-c", "1", "-W", "5", "two")
    docker(daemon, "exec", "two", "ping", "-c", "1", "-W", "5", "one.front")
    two = address(daemon, "two", "front")
    short_id = docker(daemon, "inspect", "-f", "{{.Id}}", "two")[:12]
    for name in ("database", "deux", short_id, "TWO"):
        assert f"Address: {two}" in look_up(daemon, "one", name), name
    assert "two.front" in look_up(daemon, "one", two)
    assert "NXDOMAIN" in look_up(daemon, "one", "nobody")


def test_networks_do_not_see_each_others_names(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "--internal", "front")
    docker(daemon, "network", "create", "--internal", "back")
    run(daemon, "one", "--network", "front")
    run(daemon, "two", "--network", "back")
    assert "NXDOMAIN" in look_up(daemon, "one", "two")
    docker(daemon, "network", "connect", "--alias", "second", "front", "two")
    assert address(daemon, "two", "front") in look_up(daemon, "one", "second")
    assert address(daemon, "one", "front") in look_up(daemon, "two", "one")
    docker(daemon, "network", "disconnect", "front", "two")
    assert "NXDOMAIN" in look_up(daemon, "one", "two")
    assert "NXDOMAIN" in look_up(daemon, "two", "one")


def test_a_stopped_containers_name_is_gone_and_comes_back(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "--internal", "front")
    run(daemon, "one", "--network", "front")
    run(daemon, "two", "--network", "front")
    docker(daemon, "stop", "-t", "0", "two")
    assert "NXDOMAIN" in look_up(daemon, "one", "two")
    docker(daemon, "start", "two")
    assert address(daemon, "two", "front") in look_up(daemon, "one", "two")


def test_names_outlive_sampand_and_a_killed_sampan_dns(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "front")
    run(daemon, "one", "--network", "front")
    run(daemon, "two", "--network", "front")
    two = address(daemon, "two", "front")
    pid = dns_pid(daemon)
    state = docker(daemon, "inspect", "-f", "{{.State.Pid}}", "one")
    daemon.kill()
    inside = ["nsenter", "-t", state, "-n", "busybox", "nslookup", "two", "127.0.0.11"]
    found = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=30)
    assert f"Address: {two}" in found.stdout, found
    daemon.start()
    assert dns_pid(daemon) == pid
    assert two in look_up(daemon, "one", "two")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: dns_pid(daemon) != pid, "another sampan-dns", timeout_s=5)
    wait_for(lambda: two in look_up(daemon, "one", "two"), "names again", timeout_s=5)
    run(daemon, "three", "--network", "front")
    assert address(daemon, "three", "front") in look_up(daemon, "one", "three")


def test_both_killed_it_comes_back_with_sampand(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "front")
    run(daemon, "one", "--network", "front")
    pid = dns_pid(daemon)
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    daemon.start()
    assert address(daemon, "one", "front") in look_up(daemon, "one", "one")


def test_the_users_options_are_in_resolv_conf(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "front")
    run(
        daemon,
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
    lines = docker(daemon, "exec", "one", "cat", "/etc/resolv.conf").splitlines()
    assert lines.pop().startswith("# sampan: ")  # tells our text from a user's (engine/hostfiles.py)
    assert lines[1:] == [
        "nameserver 127.0.0.11",
        "search lan.example",
        "options timeout:1 ndots:0",
        "# ExtServers: [192.0.2.53]",
    ]


def test_the_default_bridge_has_no_names(daemon: NetworkHost) -> None:
    run(daemon, "one", "--network", "bridge")
    assert "127.0.0.11" not in docker(daemon, "exec", "one", "cat", "/etc/resolv.conf")


def test_an_alias_of_several_containers_gives_them_all(daemon: NetworkHost) -> None:
    docker(daemon, "network", "create", "front")
    for name in ("r1", "r2", "r3"):
        run(daemon, name, "--network", "front", "--network-alias", "service")
    want = {address(daemon, name, "front") for name in ("r1", "r2", "r3")}
    text = look_up(daemon, "r1", "service")
    assert all(one in text for one in want), text
