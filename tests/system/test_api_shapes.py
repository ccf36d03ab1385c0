"""What the API answers about real objects has the published shapes; lists that clients index are lists."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.system.api_schema import check, needs_description
from tests.system.sampand import Sampand, needs_busybox, needs_root, wait_for

pytestmark = [needs_root, needs_busybox, needs_description]


def make(sampand: Sampand, **config: Any) -> str:
    body = {"Image": "busybox", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}, **config}
    made = sampand.call("POST", "/containers/create", body)
    check("ContainerCreateResponse", made)
    return str(made["Id"])


@pytest.fixture(scope="module")
def box(sampand: Sampand) -> Iterator[str]:
    """A running container with about everything configured."""
    identity = make(
        sampand,
        Labels={"a": "b"},
        Env=["A=1"],
        ExposedPorts={"80/tcp": {}},
        Healthcheck={"Test": ["NONE"]},
        HostConfig={
            "NetworkMode": "none",
            "Memory": 64 << 20,
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
            "Mounts": [{"Type": "tmpfs", "Target": "/t"}, {"Type": "bind", "Source": "/tmp", "Target": "/b"}],
            "RestartPolicy": {"Name": "no"},
        },
    )
    sampand.call("POST", f"/containers/{identity}/start")
    yield identity
    sampand.call("DELETE", f"/containers/{identity}?force=1")


def test_inspect_of_a_running_container(sampand: Sampand, box: str) -> None:
    shown = sampand.call("GET", f"/containers/{box}/json?size=1")
    check("ContainerInspectResponse", shown)
    assert (shown["State"]["Running"], shown["State"]["Pid"] > 1) == (True, True)
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert {mount["Destination"] for mount in shown["Mounts"]} == {"/t", "/b"}
    assert isinstance(shown["SizeRw"], int)
    for name in ("State", "Config", "HostConfig", "NetworkSettings", "GraphDriver"):
        assert isinstance(shown[name], dict), name


def test_inspect_of_a_created_container(sampand: Sampand) -> None:
    identity = make(sampand)
    shown = sampand.call("GET", f"/containers/{identity}/json")
    check("ContainerInspectResponse", shown)
    assert shown["State"]["Status"] == "created"
    assert shown["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    sampand.call("DELETE", f"/containers/{identity}")


def test_list(sampand: Sampand, box: str) -> None:
    listed = sampand.call("GET", "/containers/json?all=1&size=1")
    assert [one["Id"] for one in listed] == [box]
    check("ContainerSummary", listed[0])
    assert listed[0]["Ports"] == [{"PrivatePort": 80, "Type": "tcp"}]
    assert isinstance(listed[0]["NetworkSettings"]["Networks"], dict)


@pytest.mark.parametrize(
    ("path", "definition"),
    [
        pytest.param("/info", "SystemInfo", id="info"),
        pytest.param("/version", "SystemVersion", id="version"),
        pytest.param("/containers/{box}/top", "ContainerTopResponse", id="top"),
        pytest.param("/containers/{box}/stats?stream=0&one-shot=1", "ContainerStatsResponse", id="stats"),
        pytest.param("/images/busybox/json", "ImageInspect", id="image"),
        pytest.param("/networks/none", "Network", id="network"),
        pytest.param("/volumes", "VolumeListResponse", id="volumes"),
    ],
)
def test_documents(sampand: Sampand, box: str, path: str, definition: str) -> None:
    check(definition, sampand.call("GET", path.format(box=box)))


def test_image_lists(sampand: Sampand) -> None:
    listed = sampand.call("GET", "/images/json")
    check("ImageSummary", listed[0])
    assert (listed[0]["RepoTags"], listed[0]["RepoDigests"]) == (["busybox:latest"], [])
    history = sampand.call("GET", "/images/busybox/history")
    check("ImageHistoryResponseItem", history[0])


def test_disk_usage(sampand: Sampand, box: str) -> None:
    usage = sampand.call("GET", "/system/df")
    check("ContainerSummary", usage["Containers"][0])
    check("ImageSummary", usage["Images"][0])
    assert (usage["Volumes"], usage["BuildCache"]) == ([], [])
    assert set(sampand.call("GET", "/system/df?type=container")) == {"Containers"}


def test_exec_inspect(sampand: Sampand, box: str) -> None:
    made = sampand.call("POST", f"/containers/{box}/exec", {"Cmd": ["sh", "-c", "exit 4"]})
    check("IDResponse", made)
    sampand.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})

    def ended() -> dict[str, Any] | None:
        shown: dict[str, Any] = sampand.call("GET", f"/exec/{made['Id']}/json")
        return None if shown["Running"] else shown

    shown = wait_for(ended, "exec has ended")
    assert (shown["ExitCode"], shown["ProcessConfig"]["entrypoint"], shown["ContainerID"]) == (4, "sh", box)


def test_wait_and_events(sampand: Sampand) -> None:
    identity = make(sampand, Cmd=["sh", "-c", "exit 3"])
    sampand.call("POST", f"/containers/{identity}/start")
    waited = sampand.call("POST", f"/containers/{identity}/wait")
    check("ContainerWaitResponse", waited)
    assert waited == {"StatusCode": 3}
    sampand.call("DELETE", f"/containers/{identity}")
    query = urlencode({"since": 0, "until": time.time(), "filters": json.dumps({"container": [identity]})})
    status, _, body = sampand.request("GET", f"/events?{query}")
    assert status == 200
    events = [json.loads(line) for line in body.splitlines()]
    assert [event["Action"] for event in events] == ["create", "start", "die", "destroy"]
    for event in events:
        check("EventMessage", event)
        assert (event["status"], event["id"], event["from"]) == (event["Action"], identity, "busybox")


def test_update_and_prune(sampand: Sampand, box: str) -> None:
    check("ContainerUpdateResponse", sampand.call("POST", f"/containers/{box}/update", {"PidsLimit": 50}))
    made = make(sampand)
    pruned = sampand.call("POST", "/containers/prune")
    assert pruned["ContainersDeleted"] == [made]
    assert sampand.call("POST", "/images/prune")["ImagesDeleted"] is not None
