from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.engine.plans import V2_MACHINE, make_plan

from sampan.engine.bundle.devices import find_devices, make_device_rules, parse_device_rule
from sampan.engine.bundle.namespaces import (
    Sharing,
    make_namespaces,
    parse_cgroupns_mode,
    parse_ipc_mode,
    parse_network_mode,
    parse_pid_mode,
)
from sampan.engine.bundle.plan import DeviceNode, Joins
from sampan.engine.bundle.process import command_of, make_environment, merge_environment
from sampan.engine.bundle.sysctls import choose_sysctls
from sampan.errors import InvalidArgument, SampanError
from sampan.spec import docker


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("", Sharing(share="own")),
        ("default", Sharing(share="own")),
        ("none", Sharing(share="own")),
        ("mine", Sharing(share="own")),
        ("host", Sharing(share="host")),
        ("container:x", Sharing(share="container", container="x")),
    ],
)
def test_network_mode(mode: str, want: Sharing) -> None:
    assert parse_network_mode(mode) == want


def test_wrong_modes() -> None:
    with pytest.raises(InvalidArgument, match="invalid NetworkMode 'a:b'"):
        parse_network_mode("a:b")
    with pytest.raises(InvalidArgument, match="write container:NAME"):
        parse_network_mode("container:")
    with pytest.raises(InvalidArgument, match="invalid PID mode: x"):
        parse_pid_mode("x")
    with pytest.raises(InvalidArgument, match="write container:NAME"):
        parse_ipc_mode("container:")
    with pytest.raises(InvalidArgument, match="invalid IPC mode: x"):
        parse_ipc_mode("x")
    with pytest.raises(InvalidArgument, match="invalid UTS mode: x"):
        make_namespaces(make_plan(host=docker.HostConfig(UTSMode="x")))
    with pytest.raises(InvalidArgument, match="invalid cgroup namespace mode: x"):
        parse_cgroupns_mode(docker.HostConfig(CgroupnsMode="x"), cgroup_version=2)


@pytest.mark.parametrize(
    ("host", "version", "want"),
    [
        ({}, 1, False),
        ({}, 2, True),
        ({"CgroupnsMode": "private"}, 1, True),
        ({"CgroupnsMode": "host"}, 2, False),
        ({"Privileged": True}, 2, False),
    ],
)
def test_cgroup_namespace(host: dict[str, object], version: int, want: bool) -> None:
    config = docker.HostConfig(**host)  # type: ignore[arg-type]  # table above
    assert parse_cgroupns_mode(config, cgroup_version=version) is want


def kinds(**host: object) -> set[str]:
    plan = make_plan(host=docker.HostConfig(**host), machine=V2_MACHINE)  # type: ignore[arg-type]  # tables below
    return {str(space["type"]) for space in make_namespaces(plan)}


def test_namespaces() -> None:
    everything = {"mount", "network", "pid", "uts", "ipc", "cgroup"}
    assert kinds() == everything
    assert kinds(NetworkMode="host") == everything - {"network"}
    assert kinds(PidMode="host", IpcMode="host", UTSMode="host") == {"mount", "network", "cgroup"}


def test_joined_namespaces_have_paths() -> None:
    made = make_namespaces(make_plan(joins=Joins(network="/proc/1/fd/7", ipc="/proc/1/fd/8")))
    assert {"type": "network", "path": "/proc/1/fd/7"} in made
    assert {"type": "ipc", "path": "/proc/1/fd/8"} in made


@pytest.mark.parametrize(
    ("host", "sysctl", "match"),
    [
        ({}, {"kernel.core_pattern": "|/x"}, "sysctl 'kernel.core_pattern' is not allowed"),
        ({}, {"vm.swappiness": "1"}, "is not allowed"),
        ({}, {"net.ipv4.ip_forward": "1\nx"}, "line ends"),
        ({}, {"net/../kernel/core_pattern": "x"}, "invalid sysctl name"),
        ({}, {"a b": "x"}, "invalid sysctl name"),
        ({"NetworkMode": "host"}, {"net.ipv4.ip_forward": "1"}, "not allowed in host network namespace"),
        ({"IpcMode": "host"}, {"kernel.shmmax": "1"}, "not allowed in host ipc namespace"),
        ({"UTSMode": "host"}, {"kernel.domainname": "x"}, "not allowed in host UTS namespace"),
    ],
)
def test_wrong_sysctls(host: dict[str, object], sysctl: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        choose_sysctls(docker.HostConfig(Sysctls=sysctl, **host))  # type: ignore[arg-type]  # table above


def test_sysctls() -> None:
    assert "net.ipv4.ping_group_range" in choose_sysctls(docker.HostConfig())
    assert choose_sysctls(docker.HostConfig(NetworkMode="host")) == {}
    given = {"net.ipv4.ping_group_range": "0 0", "kernel.msgmax": "1", "fs.mqueue.msg_max": "5"}
    assert choose_sysctls(docker.HostConfig(Sysctls=given)).items() >= given.items()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("c 1:3 rwm", {"type": "c", "major": 1, "minor": 3, "access": "rwm"}),
        ("b *:* m", {"type": "b", "access": "m"}),
        ("a 7:* r", {"type": "a", "major": 7, "access": "r"}),
    ],
)
def test_device_rule(text: str, want: dict[str, object]) -> None:
    assert parse_device_rule(text) == {"allow": True} | want


@pytest.mark.parametrize(
    "text", ["", "c 1:3", "x 1:3 r", "c 1:3 rwmx", "c -1:3 r", "c 1:3 r\n", "c 9999999999:1 r"]
)
def test_wrong_device_rule(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid device cgroup rule format"):
        parse_device_rule(text)


def test_rules_deny_first() -> None:
    """GHSA-g54h-m393-cpwq: without any rule of one's own, everything else must stay forbidden."""
    rules = make_device_rules(make_plan())
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert rules[-1] == {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    assert make_device_rules(make_plan(host=docker.HostConfig(Privileged=True))) == [
        {"allow": True, "access": "rwm"}
    ]


def mapped(path: str, **more: str) -> tuple[DeviceNode, ...]:
    return find_devices(docker.HostConfig(Devices=[docker.DeviceMapping(PathOnHost=path, **more)]))


def test_device() -> None:
    (node,) = mapped("/dev/null", PathInContainer="/dev/zip", CgroupPermissions="r")
    assert (node.path, node.kind, node.major, node.minor, node.access) == ("/dev/zip", "c", 1, 3, "r")


def test_device_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    (node,) = mapped(str(tmp_path / "link"))
    assert (node.path, node.minor) == (str(tmp_path / "link"), 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="device nodes are made by root")
def test_folder_of_devices(tmp_path: Path) -> None:
    import stat

    (tmp_path / "deep").mkdir()
    os.mknod(tmp_path / "deep/zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    (tmp_path / "file").touch()
    (node,) = mapped(str(tmp_path), PathInContainer="/dev/x")
    assert (node.path, node.minor, node.mode) == ("/dev/x/deep/zero", 5, 0o600)


@pytest.mark.parametrize(
    ("path", "more", "match"),
    [
        ("/dev/nosuch", {}, 'custom device "/dev/nosuch": no such file or directory'),
        ("/etc/passwd", {}, "not a device node"),
        ("/dev/null", {"CgroupPermissions": "x"}, "invalid device permissions"),
        ("/dev/null", {"PathInContainer": "rel"}, "must be absolute"),
        ("/dev/null", {"PathInContainer": "/dev/../etc/x"}, "must be absolute"),
    ],
)
def test_wrong_device(path: str, more: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        mapped(path, **more)


def test_privileged_finds_the_hosts_devices() -> None:
    paths = {node.path for node in find_devices(docker.HostConfig(Privileged=True))}
    assert "/dev/null" in paths
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/")) for path in paths)


@pytest.mark.parametrize(
    ("config", "want"),
    [
        (docker.Config(Entrypoint=["/e"], Cmd=["a"]), ["/e", "a"]),
        (docker.Config(Cmd=["a"]), ["a"]),
        (docker.Config(Entrypoint=[""], Cmd=["a"]), ["a"]),
        (docker.Config(Entrypoint=["/e"]), ["/e"]),
    ],
)
def test_command(config: docker.Config, want: list[str]) -> None:
    assert command_of(config) == want


def test_no_command() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        command_of(docker.Config())
    with pytest.raises(SampanError, match="NUL"):
        command_of(docker.Config(Cmd=["a\0b"]))


def test_environment() -> None:
    made = make_environment(docker.Config(Env=["A=1", "HOSTNAME=mine"], Tty=True), home="/h", hostname="web")
    assert made[1:] == ["HOSTNAME=mine", "TERM=xterm", "A=1", "HOME=/h"]
    assert made[0].startswith("PATH=/usr/local/sbin")
    assert make_environment(docker.Config(Env=["HOME=/own"]), home="/h", hostname="w")[-1] == "HOME=/own"
    assert merge_environment(["A=1", "B=2"], ["B", "C="]) == ["A=1", "C="]
