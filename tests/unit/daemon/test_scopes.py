"""Roles of listeners: the tables, the grammar of --socket, what a run-only client may ask for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sampan.daemon.door import build_router
from sampan.daemon.scoped_requests import checked
from sampan.daemon.scopes import FULL, OWNER, TABLES, AllowedBind, Scope, parse_socket
from sampan.errors import Forbidden, InvalidArgument
from sampan.spec import docker, gojson

CI = Scope(
    role="run-only",
    owner="ci",
    binds=(AllowedBind(path="/srv/ci", read_only=False), AllowedBind(path="/srv/cache", read_only=True)),
)


class NoProgram:
    version = "0"
    hosts: list[str] = []  # noqa: RUF012 -- nobody changes it

    def stop(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("role", TABLES)
def test_every_line_of_a_table_is_a_route(role: str) -> None:
    routes = set(build_router(NoProgram()).routes())  # type: ignore[arg-type]  # it is never asked
    assert set(TABLES[role]) - routes == set()


@pytest.mark.parametrize("role", TABLES)
def test_what_no_table_names_is_refused(role: str) -> None:
    scope = Scope(role=role)  # type: ignore[arg-type]  # the keys are roles
    refused = [
        ("POST", "/images/create"),
        ("POST", "/containers/prune"),
        ("POST", "/containers/{id}/update"),
        ("POST", "/containers/{id}/rename"),
        ("POST", "/commit"),
        ("POST", "/volumes/create"),
        ("POST", "/sampan/v1/system/stop"),
        ("POST", "/sampan/v1/images/bootstrap"),
        ("GET", "/images/get"),
        ("POST", "/of/the/future"),
    ]
    for method, pattern in refused:
        with pytest.raises(Forbidden, match=f"not allowed on a {role} socket"):
            scope.right(method, pattern)
        assert FULL.right(method, pattern) == "free"


def test_read_only_reads() -> None:
    assert all(
        method in ("GET", "HEAD") or pattern.endswith("/wait") for method, pattern in TABLES["read-only"]
    )
    inside = ("archive", "export", "attach", "/get")
    assert not any(word in pattern for _, pattern in TABLES["read-only"] for word in inside)


def test_run_only_asks_for_the_owner_wherever_a_container_is_named() -> None:
    for (_, pattern), right in TABLES["run-only"].items():
        if "/containers/{id}" in pattern:
            assert right == "own", pattern
        if "/exec/{id}" in pattern:
            assert right == "own-exec", pattern


def test_parse_socket() -> None:
    wish = parse_socket(
        "/run/ci.sock,role=run-only,group=ci,mode=620,bind=/srv/ci,bind=/srv/cache:ro,owner=ci"
    )
    assert (wish.path, wish.group, wish.mode, wish.scope) == ("/run/ci.sock", "ci", 0o620, CI)
    plain = parse_socket("unix:///run/a.sock,role=read-only")
    assert (plain.path, plain.group, plain.mode) == ("/run/a.sock", "", None)
    assert plain.scope == Scope(role="read-only", owner="/run/a.sock")


@pytest.mark.parametrize(
    "text",
    [
        "/run/a.sock",
        "run/a.sock,role=full",
        "/run/,role=full",
        "/run/a.sock,role=root",
        "/run/a.sock,role=full,colour=red",
        "/run/a.sock,role=full,mode=9",
        "/run/a.sock,role=full,mode=4755",
        "/run/a.sock,role=full,group=",
        "/run/a.sock,role=run-only,bind=srv",
        "/run/a.sock,role=run-only,bind=/srv:rw",
        "/run/a.sock,role=run-only,bind=/srv/../etc",
    ],
)
def test_parse_socket_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_socket(text)


def create(**host: Any) -> docker.ContainerCreate:
    return docker.ContainerCreate(Image="busybox", HostConfig=docker.HostConfig(**host))


ALLOWED = [
    {},
    {"AutoRemove": True, "Memory": 1 << 30, "NanoCpus": 10, "Init": True, "Tmpfs": {"/t": ""}},
    {"CapAdd": ["NET_RAW", "cap_chown"], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"]},
    {"Binds": ["/srv/ci:/work", "/srv/cache:/cache:ro"]},
    {"Mounts": [docker.Mount(Type="bind", Source="/srv/cache", Target="/c", ReadOnly=True)]},
    {"Mounts": [docker.Mount(Type="tmpfs", Target="/c"), docker.Mount(Type="volume", Target="/v")]},
    {"NetworkMode": "none", "IpcMode": "private", "CgroupnsMode": "private", "OomScoreAdj": 5},
    {"LogConfig": docker.LogConfig(Type="json-file", Config={"max-size": "1m"})},
]
REFUSED = [
    {"Privileged": True},
    {"PidMode": "host"},
    {"PidMode": "container:x"},
    {"IpcMode": "host"},
    {"IpcMode": "shareable"},
    {"IpcMode": "container:x"},
    {"UTSMode": "host"},
    {"UsernsMode": "host"},
    {"CgroupnsMode": "host"},
    {"Cgroup": "container:x"},
    {"NetworkMode": "host"},
    {"NetworkMode": "container:x"},
    {"NetworkMode": "somebody's"},
    {"CapAdd": ["SYS_ADMIN"]},
    {"CapAdd": ["ALL"]},
    {"CapAdd": ["NET_RAW", "sys_ptrace"]},
    {"SecurityOpt": ["seccomp=unconfined"]},
    {"SecurityOpt": ["no-new-privileges", "apparmor=unconfined"]},
    {"SecurityOpt": ["systempaths=unconfined"]},
    {"MaskedPaths": []},
    {"ReadonlyPaths": []},
    {"Devices": [docker.DeviceMapping(PathOnHost="/dev/sda")]},
    {"DeviceCgroupRules": ["a *:* rwm"]},
    {"DeviceRequests": [docker.DeviceRequest(Count=-1)]},
    {"Sysctls": {"net.ipv4.ip_forward": "1"}},
    {"Runtime": "other"},
    {"CgroupParent": "/"},
    {"Binds": ["/:/host"]},
    {"Binds": ["/srv/ci/below:/work"]},
    {"Binds": ["/srv/ci/../ci:/work"]},
    {"Binds": ["/srv/ci/:/work"]},
    {"Binds": ["//srv/ci:/work"]},
    {"Binds": ["/srv/cache:/cache"]},
    {"Binds": ["/srv/cache:/cache:ro,rw,rshared"]},
    {"Binds": ["/srv/ci:/work:rshared"]},
    {"Binds": ["somebody:/work"]},
    {"Mounts": [docker.Mount(Type="bind", Source="/etc", Target="/e")]},
    {"Mounts": [docker.Mount(Type="bind", Source="/srv/cache", Target="/e")]},
    {
        "Mounts": [
            docker.Mount(
                Type="bind",
                Source="/srv/ci",
                Target="/e",
                BindOptions=docker.BindOptions(Propagation="rshared"),
            )
        ]
    },
    {"Mounts": [docker.Mount(Type="volume", Source="somebody", Target="/e")]},
    {
        "Mounts": [
            docker.Mount(
                Type="volume",
                Target="/e",
                VolumeOptions=docker.VolumeOptions(
                    DriverConfig=docker.VolumeDriverConfig(Name="local", Options={"device": "/", "o": "bind"})
                ),
            )
        ]
    },
    {"Mounts": [docker.Mount(Type="image", Source="x", Target="/e")]},
    {"Mounts": [docker.Mount(Type="npipe", Source="/srv/ci", Target="/e")]},
    {"VolumesFrom": ["x"]},
    {"Links": ["x:y"]},
    {"VolumeDriver": "nfs"},
    {"StorageOpt": {"size": "1g"}},
    {"PortBindings": {"80/tcp": []}},
    {"PublishAllPorts": True},
    {"OomScoreAdj": -500},
    {"OomKillDisable": True},
    {"LogConfig": docker.LogConfig(Type="syslog")},
    {"Annotations": {OWNER: "somebody"}},
]


@pytest.mark.parametrize("host", ALLOWED, ids=lambda host: " ".join(host) or "nothing")
def test_allowed(host: dict[str, Any]) -> None:
    wanted = create(**host)
    made = checked(CI, wanted)
    assert made.HostConfig.Annotations == {OWNER: "ci"}
    assert replace(made, HostConfig=replace(made.HostConfig, Annotations={})) == wanted


@pytest.mark.parametrize(
    "host", REFUSED, ids=lambda host: f"{next(iter(host))}-{next(iter(host.values()))!s:.30}"
)
def test_refused(host: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match=rf"HostConfig\.{next(iter(host))} is not allowed"):
        checked(CI, create(**host))
    assert checked(FULL, create(**host)) == create(**host)


def test_every_field_of_host_config_was_thought_about() -> None:
    """A new field is refused by itself; this only says that the default value of each passes."""
    assert checked(CI, gojson.decode(b'{"Image":"x","HostConfig":{}}', docker.ContainerCreate))


def test_other_parts_that_reach_out() -> None:
    with pytest.raises(Forbidden, match="MacAddress"):
        checked(CI, docker.ContainerCreate(Image="x", MacAddress="02:00:00:00:00:01"))
    for settings in (
        {"other": docker.EndpointSettings()},
        {"bridge": docker.EndpointSettings(MacAddress="x")},
    ):
        networking = docker.NetworkingConfig(EndpointsConfig=settings)
        with pytest.raises(Forbidden, match="NetworkingConfig"):
            checked(CI, docker.ContainerCreate(Image="x", NetworkingConfig=networking))
    with pytest.raises(Forbidden, match="Privileged"):
        checked(CI, docker.ExecCreate(Cmd=["sh"], Privileged=True))
    assert checked(CI, docker.ExecCreate(Cmd=["sh"])).Cmd == ["sh"]
