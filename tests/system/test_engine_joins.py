"""Containers that share namespaces: pid, network, ipc with its /dev/shm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.system.engine_kit import Box, wait_until

from sampan.errors import Conflict, InvalidArgument, SampanError

FOR_EVER = ("sleep", "1000")


def namespace(box: Box, ref: str, kind: str) -> bytes:
    return box.exec(ref, "readlink", f"/proc/self/ns/{kind}").stdout


def test_shared_memory_is_shared(box: Box) -> None:
    box.start(*FOR_EVER, name="donor", host={"IpcMode": "shareable", "ShmSize": 1 << 20})
    box.start(*FOR_EVER, name="guest", host={"IpcMode": "container:donor"})
    box.start(*FOR_EVER, name="third", host={"IpcMode": "container:guest"})
    box.exec("donor", "sh", "-c", "echo hello > /dev/shm/note")
    for name in ("guest", "third"):
        assert box.exec(name, "cat", "/dev/shm/note").stdout == b"hello\n"
        assert namespace(box, name, "ipc") == namespace(box, "donor", "ipc")
        mount = box.exec(name, "grep", " /dev/shm ", "/proc/self/mountinfo").stdout
        assert b"size=1024k" in mount
        assert b"nosuid,nodev,noexec" in mount
    box.engine.containers.restart("guest", timeout_s=0)
    assert box.exec("guest", "cat", "/dev/shm/note").stdout == b"hello\n"
    box.engine.containers.remove("donor", force=True)
    assert box.exec("third", "cat", "/dev/shm/note").stdout == b"hello\n"
    box.engine.containers.stop("third", timeout_s=0)
    box.engine.containers.stop("guest", timeout_s=0)
    with pytest.raises(Conflict, match="cannot join namespace of a non running container: guest"):
        box.engine.containers.start("third")


@pytest.mark.parametrize("mode", ["", "private", "none"])
def test_private_memory_is_not_shared(box: Box, mode: str) -> None:
    box.start(*FOR_EVER, name="donor", host={"IpcMode": mode})
    guest = box.create("true", host={"IpcMode": "container:donor"})
    with pytest.raises(InvalidArgument, match="non-shareable IPC"):
        box.engine.containers.start(guest)


def test_the_hosts_memory_through_another(box: Box) -> None:
    box.start(*FOR_EVER, name="donor", host={"IpcMode": "host"})
    box.start(*FOR_EVER, name="guest", host={"IpcMode": "container:donor"})
    assert namespace(box, "guest", "ipc") == namespace(box, "donor", "ipc")


def test_a_link_at_the_donors_shared_memory_is_not_followed(box: Box, tmp_path: Path) -> None:
    host: dict[str, Any] = {
        "IpcMode": "shareable",
        "CapAdd": ["SYS_ADMIN"],
        "SecurityOpt": ["seccomp=unconfined"],
    }
    box.start(*FOR_EVER, name="donor", host=host)
    script = "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm"
    done = box.exec("donor", "sh", "-c", script)
    assert done.code == 0, done.stderr
    guest = box.create("true", host={"IpcMode": "container:donor"})
    with pytest.raises(SampanError, match="Too many levels of symbolic links"):
        box.engine.containers.start(guest)


def test_a_joined_pid_namespace(box: Box) -> None:
    box.start(*FOR_EVER, name="owner")
    box.start("sh", "-c", "while :; do sleep 0.1; done", name="guest", host={"PidMode": "container:owner"})
    assert b"sleep 1000" in box.exec("guest", "ps").stdout
    box.engine.containers.restart("guest", timeout_s=0)
    assert namespace(box, "guest", "pid") == namespace(box, "owner", "pid")
    box.engine.containers.stop("owner", timeout_s=0)
    wait_until(lambda: box.state("guest").Status == "exited", "its processes died with the namespace")


def test_a_joined_network_brings_its_names(box: Box) -> None:
    box.start(*FOR_EVER, name="owner", Hostname="boat", host={"ExtraHosts": ["pier:10.1.2.3"]})
    box.start(*FOR_EVER, name="guest", host={"NetworkMode": "container:owner"})
    assert namespace(box, "guest", "net") == namespace(box, "owner", "net")
    assert box.exec("guest", "hostname").stdout == b"boat\n"
    assert b"pier" in box.exec("guest", "cat", "/etc/hosts").stdout
    assert box.engine.containers.inspect("guest").Config.Hostname == "boat"


@pytest.mark.parametrize(
    ("config", "host", "text"),
    [
        ({"Hostname": "other"}, {}, "conflicting options: hostname and the network mode"),
        ({}, {"Dns": ["10.0.0.1"]}, "conflicting options: dns and the network mode"),
        ({}, {"ExtraHosts": ["a:10.0.0.1"]}, "custom host-to-IP mapping and the network mode"),
        ({"ExposedPorts": {"80/tcp": {}}}, {}, "port exposing and the container type network mode"),
    ],
)
def test_what_a_joined_network_forbids(box: Box, config: Any, host: Any, text: str) -> None:
    box.start(*FOR_EVER, name="owner")
    with pytest.raises(InvalidArgument, match=text):
        box.create("true", host={"NetworkMode": "container:owner", **host}, **config)


def test_nobody_there(box: Box) -> None:
    for field in ("NetworkMode", "PidMode", "IpcMode"):
        with pytest.raises(InvalidArgument, match="No such container: nobody"):
            box.create("true", host={field: "container:nobody"})
