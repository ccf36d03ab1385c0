"""What surrounds a container: its network namespace, host files, bind mounts, what it shares with others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.engine_kit import Box

from sampan.errors import Conflict, InvalidArgument
from sampan.spec import docker


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    yield shared
    shared.remove_all()
    assert shared.leftovers() == []


def test_without_a_network_each_has_a_namespace_of_its_own(box: Box) -> None:
    """Also those that get one that was made ahead."""
    with ThreadPoolExecutor(4) as pool:
        refs = list(pool.map(lambda _: box.start("sleep", "60"), range(8)))
    seen = {os.readlink(f"/proc/{box.state(ref).Pid}/ns/net") for ref in refs}
    assert len(seen) == len(refs)
    assert os.readlink("/proc/self/ns/net") not in seen
    links = box.exec(refs[-1], "ip", "-o", "link").stdout.splitlines()
    assert len(links) == 1
    assert b"lo: <LOOPBACK,UP" in links[0]


def test_bind_mounts(box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    made = tmp_path / "made/deep"
    done = box.run(
        "sh",
        "-c",
        "cat /data/file; touch /data/x 2>&1; touch /made/y",
        host={"Binds": [f"{tmp_path}:/data:ro", f"{made}:/made"]},
    )
    assert done.stdout.startswith(b"from the host\ntouch: /data/x: Read-only file system")
    assert (made / "y").exists()
    with pytest.raises(InvalidArgument, match=re.escape("bind source path does not exist: /nosuch/source")):
        box.create("true", host={"Mounts": [docker.Mount(Type="bind", Source="/nosuch/source", Target="/x")]})


def test_host_files(box: Box) -> None:
    done = box.run(
        "sh",
        "-c",
        "cat /etc/hosts /etc/resolv.conf /etc/hostname",
        Hostname="web",
        host={
            "ExtraHosts": ["db:10.1.2.3"],
            "Dns": ["9.9.9.9"],
            "DnsSearch": ["example.test"],
            "DnsOptions": ["ndots:2"],
        },
    )
    text = done.stdout.decode()
    assert "10.1.2.3\tdb\n" in text
    assert "nameserver 9.9.9.9\nsearch example.test\noptions ndots:2\n# sampan: " in text
    assert text.endswith("\nweb\n")


def test_host_files_are_readable_whatever_our_umask(box: Box) -> None:
    before = os.umask(0o077)
    try:
        done = box.run("cat", "/etc/hosts", "/etc/hostname", User="1234", Hostname="web")
    finally:
        os.umask(before)
    assert done.stdout.endswith(b"web\n")


def test_networks(box: Box) -> None:
    private = box.run("sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/operstate")
    assert private.stdout.split()[0] == b"lo"
    ports = {"80/tcp": [docker.PortBinding(HostPort="80")]}
    published = box.run("true", host={"NetworkMode": "none", "PortBindings": ports})
    assert published.warnings == ["Published ports are discarded when using none network mode"]
    host = box.run("ls", "-l", "/proc/self/ns/net", host={"NetworkMode": "host"})
    assert os.readlink("/proc/self/ns/net") in host.stdout.decode()


def test_joined_namespaces(box: Box) -> None:
    first = box.start("sleep", "100", name="first")
    pid = box.state(first).Pid
    done = box.run(
        "sh",
        "-c",
        "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; ps",
        host={"NetworkMode": "container:first", "PidMode": "container:first"},
    )
    net, pid_space = (os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "pid"))
    assert done.stdout.decode().splitlines()[:2] == [net, pid_space]
    assert b"sleep 100" in done.stdout
    with pytest.raises(InvalidArgument, match="No such container: nosuch"):
        box.create("true", host={"PidMode": "container:nosuch"})
    sleeper = box.create("true", name="stopped")
    joiner = box.create("true", host={"NetworkMode": f"container:{sleeper}"})
    with pytest.raises(Conflict, match="cannot join namespace of a non running container"):
        box.engine.containers.start(joiner)


def test_privileged(box: Box) -> None:
    done = box.run(
        "sh", "-c", "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev", host={"Privileged": True}
    )
    assert b"Seccomp:\t0" in done.stdout
    assert b"kmsg" in done.stdout or not Path("/dev/kmsg").exists()
    ours = re.search(r"CapBnd:\s+(\w+)", Path("/proc/self/status").read_text())
    assert ours is not None
    assert ours[1].encode() in done.stdout
