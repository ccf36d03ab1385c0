"""Volumes through docker-py, against sampand and against Docker's daemon: results, errors, shapes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import DriverConfig, Mount
from tests.system.cli.harness import Daemon

RUN: dict[str, Any] = {"network_mode": "none", "remove": True}


@contextlib.contextmanager
def connected(host: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=host)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    with connected(daemon.host) as client:
        yield client


@pytest.fixture
def name(client: docker.DockerClient) -> Iterator[str]:
    name = f"v{uuid.uuid4().hex[:12]}"
    yield name
    with contextlib.suppress(NotFound):
        client.volumes.get(name).remove(force=True)


def test_the_verbs(client: docker.DockerClient, name: str) -> None:
    made = client.volumes.create(name, labels={"test": "py"})
    assert (made.id, made.name) == (name, name)
    assert made.attrs["Labels"] == {"test": "py"}
    assert client.volumes.get(name) == made
    assert client.volumes.list(filters={"name": f"^{name}$", "dangling": True}) == [made]
    assert client.volumes.list(filters={"label": ["test=other"]}) == []
    made.remove()
    with pytest.raises(NotFound, match="no such volume"):
        client.volumes.get(name)


def test_created_again_it_is_the_same(client: docker.DockerClient, name: str) -> None:
    first = client.volumes.create(name, labels={"a": "1"})
    again = client.volumes.create(name, labels={"b": "2"})
    assert again.attrs["Labels"] == first.attrs["Labels"] == {"a": "1"}


def test_containers_with_volumes(client: docker.DockerClient, name: str) -> None:
    bound = {name: {"bind": "/v", "mode": "rw"}}
    assert client.containers.run("busybox", ["touch", "/v/x"], volumes=bound, **RUN) == b""
    mount = Mount("/m", name, type="volume", read_only=True)
    assert client.containers.run("busybox", ["ls", "/m"], mounts=[mount], **RUN) == b"x\n"
    labelled = Mount(
        "/m", f"{name}2", type="volume", labels={"by": "mount"}, driver_config=DriverConfig("local")
    )
    client.containers.run("busybox", ["true"], mounts=[labelled], **RUN)
    second = client.volumes.get(f"{name}2")
    assert second.attrs["Labels"] == {"by": "mount"}
    second.remove()
    giver = client.containers.create("busybox", ["true"], volumes=bound, network_mode="none")
    try:
        assert client.containers.run("busybox", ["ls", "/v"], volumes_from=[giver.id], **RUN) == b"x\n"
        with pytest.raises(APIError, match="volume is in use") as refused:
            client.volumes.get(name).remove()
        assert refused.value.status_code == 409
    finally:
        giver.remove(v=True)
    assert client.volumes.get(name), "v=True takes anonymous volumes only"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"driver": "nosuch"}, id="no such driver"),
        pytest.param({"driver_opts": {"nosuch": "1"}}, id="unknown option"),
        pytest.param({"driver_opts": {"type": "tmpfs"}}, id="missing option"),
        pytest.param({"name": "a b"}, id="wrong name"),
        pytest.param({"name": "x"}, id="short name"),
    ],
)
def test_errors_are_dockers(arguments: dict[str, Any], request: pytest.FixtureRequest) -> None:
    found = []
    for which in ("sampand", "dockerd"):
        with connected(request.getfixturevalue(which).host) as client, pytest.raises(APIError) as error:
            client.volumes.create(**{"name": "bad-one", **arguments})
        explanation = str(error.value.explanation)
        found.append((error.value.status_code, explanation.partition(": ")[2].partition(" look")[0]))
    assert found[0] == found[1]


def test_shapes_are_dockers(request: pytest.FixtureRequest) -> None:
    found = []
    for which in ("sampand", "dockerd"):
        with connected(request.getfixturevalue(which).host) as client:
            name = f"s{uuid.uuid4().hex[:12]}"
            made = client.api.create_volume(name)
            container = client.api.create_container(
                "busybox",
                host_config=client.api.create_host_config(binds=[f"{name}:/v"], network_mode="none"),
            )
            (listed,) = [one for one in client.api.containers(all=True) if one["Id"] == container["Id"]]
            (mount,) = listed["Mounts"]
            usage = next(one for one in client.api.df()["Volumes"] if one["Name"] == name)
            found.append(
                {
                    "made": {key: type(value) for key, value in made.items()},
                    "inspected": sorted(client.api.inspect_volume(name)),
                    "listed": {**mount, "Name": "", "Source": mount["Source"].partition(name)[2]},
                    "usage": usage["UsageData"],
                    "created": made["CreatedAt"][:4],
                }
            )
            client.api.remove_container(container["Id"])
            pruned = client.api.prune_volumes({"label": ["nobody-has-this"]})
            found[-1]["pruned"] = {key: value or 0 for key, value in pruned.items()}
            client.api.remove_volume(name)
    assert found[0] == found[1]
