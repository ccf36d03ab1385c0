"""The typed Python client, synchronous and for asyncio."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from tests.system.cli.harness import Daemon

from sampan.client import AsyncClient, Client, ContainerOptions
from sampan.client.container import Container
from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError

NONE = ContainerOptions(network="none", auto_remove=True)


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client(daemon.host)


@pytest.fixture
def sleeper(client: Client) -> Iterator[Container]:
    name = f"t{uuid.uuid4().hex[:12]}"
    made = client.containers.start("busybox", ["sleep", "600"], ContainerOptions(name=name, network="none"))
    yield made
    made.remove(force=True)


def test_run_returns_output_and_code(client: Client) -> None:
    done = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 3"], NONE)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_input_and_output_move_at_once(client: Client) -> None:
    data = bytes(range(256)) * 20000
    assert client.containers.run("busybox", ["cat"], NONE, stdin=data).stdout == data


def test_options_reach_the_container(client: Client) -> None:
    options = ContainerOptions(
        network="none",
        auto_remove=True,
        environment={"A": "b c"},
        hostname="box",
        working_dir="/tmp",
        user="1000",
        memory_bytes=32 << 20,
        host_config={"PidsLimit": 20},
    )
    done = client.containers.run("busybox", ["sh", "-c", "echo $A; hostname; pwd; id -u"], options)
    assert done.stdout == b"b c\nbox\n/tmp\n1000\n"


def test_what_cannot_start_is_an_error(client: Client) -> None:
    with pytest.raises(SampanError, match="nosuchprogram"):
        client.containers.run("busybox", ["nosuchprogram"], NONE)
    with pytest.raises(NotFound, match="No such image: nosuchimage"):
        client.containers.run("nosuchimage", options=NONE)


def test_a_life(client: Client, sleeper: Container) -> None:
    found = client.containers.get(sleeper.name)
    assert (found.id, found.name, found.state, found.image) == (
        sleeper.id,
        sleeper.name,
        "running",
        "busybox",
    )
    assert sleeper.id in [container.id for container in client.containers.list()]
    assert [c.id for c in client.containers.list(filters={"name": [f"^/{sleeper.name}$"]})] == [sleeper.id]
    done = sleeper.exec(["sh", "-c", "cat; echo $X >&2; exit 4"], stdin=b"in", environment={"X": "y"})
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"in", b"y\n")
    assert any("sleep 600" in " ".join(process.values()) for process in sleeper.top())
    sleeper.pause()
    assert client.containers.get(sleeper.id).state == "paused"
    sleeper.unpause()
    sleeper.stop(timeout_s=0)
    sleeper.stop()
    assert sleeper.wait() == 137
    with pytest.raises(Conflict):
        sleeper.kill()
    sleeper.start()
    sleeper.start()
    with pytest.raises(Conflict):
        sleeper.remove()
    sleeper.remove(force=True)
    sleeper.remove(force=True)
    with pytest.raises(NotFound):
        sleeper.inspect()


def test_logs(client: Client) -> None:
    options = ContainerOptions(network="none")
    made = client.containers.start(
        "busybox", ["sh", "-c", "echo one; echo two >&2; sleep 0.2; echo three"], options
    )
    try:
        pieces = list(made.logs(follow=True))
        assert b"".join(piece.data for piece in pieces if piece.stream == "stdout") == b"one\nthree\n"
        assert b"".join(piece.data for piece in pieces if piece.stream == "stderr") == b"two\n"
        assert [piece.data for piece in made.logs(tail=1)] == [b"three\n"]
    finally:
        made.remove(force=True)


def test_images(client: Client) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    client.images.tag("busybox", repository=name, tag="v1")
    assert [image.tags for image in client.images.list(filters={"reference": [name]})] == [(f"{name}:v1",)]
    assert client.images.inspect(name + ":v1")["Id"] == client.images.inspect("busybox")["Id"]
    assert client.images.history("busybox")
    assert client.images.remove(f"{name}:v1") == [{"Untagged": f"{name}:v1"}]
    with pytest.raises(SampanError):
        client.images.load([b"this is no archive"])


def api_version(daemon: Daemon) -> str:
    """Ask docker's own client: Debian 12 has 1.41, Debian 13 1.45."""
    command = ["/usr/bin/docker", "-H", daemon.host, "version", "-f", "{{.Server.APIVersion}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_facts_and_events(client: Client, daemon: Daemon) -> None:
    assert client.ping() == ("1.51" if daemon.is_sampand else api_version(daemon))
    assert client.version()["ApiVersion"] == client.ping()
    assert client.info()["OSType"] == "linux"
    done = client.containers.run("busybox", ["true"], NONE)
    assert done.exit_code == 0
    events = client.events(since="1", until="2")
    assert list(events) == []


def test_a_wrong_address() -> None:
    with pytest.raises(InvalidArgument):
        Client("nowhere")
    with pytest.raises(FileNotFoundError):
        Client("unix:///no/such.sock").ping()


def test_asyncio(daemon: Daemon) -> None:
    async def story() -> None:
        client = AsyncClient(daemon.host)
        done = await asyncio.gather(
            *(client.containers.run("busybox", ["echo", str(n)], NONE) for n in range(4))
        )
        assert [finished.stdout for finished in done] == [b"0\n", b"1\n", b"2\n", b"3\n"]
        made = await client.containers.start(
            "busybox", ["sh", "-c", "echo ready; sleep 600"], ContainerOptions(network="none")
        )
        try:
            # The stream would never end by itself: leaving it ends the request.
            async for piece in made.logs(follow=True):
                assert piece.data == b"ready\n"
                break
            assert (await made.exec(["echo", "in"])).stdout == b"in\n"
            assert made.value.id in [container.value.id for container in await client.containers.list()]
        finally:
            await made.remove(force=True)
        assert (await client.images.list())[0].id

    asyncio.run(asyncio.wait_for(story(), 60))
