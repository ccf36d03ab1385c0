"""docker-py, the Python client of Docker, against sampand."""

from __future__ import annotations

import gc
import io
import socket
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest
from tests.system.sampand import Sampand, busybox_tar, needs_busybox, needs_root, wait_for

pytestmark = [
    needs_root,
    needs_busybox,
    # docker-py leaves the sockets of attach and exec to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def client(sampand: Sampand) -> Iterator[Any]:
    found = docker.DockerClient(base_url=sampand.host, timeout=60)
    yield found
    found.close()
    gc.collect()  # what docker-py left is collected here, not in a test of another file
    sampand.remove_containers()


@pytest.fixture
def box(client: Any) -> Any:
    return client.containers.run(
        "busybox",
        ["sh", "-c", "echo one; echo two >&2; exec sleep 100"],
        detach=True,
        network_mode="none",
        name="box",
    )


def test_negotiated_version(client: Any) -> None:
    assert client.api.api_version == "1.51"
    assert client.ping()
    assert client.info()["Driver"] == "overlay2"
    assert client.version()["ApiVersion"] == "1.51"


def test_run_returns_the_output(client: Any) -> None:
    assert client.containers.run("busybox", "echo hello", remove=True, network_mode="none") == b"hello\n"
    assert client.containers.list(all=True) == []


def test_run_that_fails_carries_code_and_errors(client: Any) -> None:
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run(
            "busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True, stderr=True, network_mode="none"
        )
    assert (caught.value.exit_status, caught.value.stderr) == (3, b"bad\n")


def test_run_of_nothing(client: Any) -> None:
    with pytest.raises(docker.errors.APIError, match="cannot reach registry"):
        client.containers.run("127.0.0.1:1/no-such-image", network_mode="none")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("no-such-image")
    with pytest.raises(docker.errors.NotFound, match="No such container: nothing"):
        client.containers.get("nothing")
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        client.containers.run("busybox", "no-such-program", network_mode="none")


def test_life_of_a_detached_container(client: Any, box: Any) -> None:
    assert [one.name for one in client.containers.list(filters={"name": "box"})] == ["box"]
    box.reload()
    assert box.status == "running"
    assert box.image.tags == ["busybox:latest"]
    assert box.top()["Titles"][1] == "PID"
    box.pause()
    box.unpause()
    box.rename("other")
    box.restart(timeout=0)
    box.kill("KILL")
    assert box.wait()["StatusCode"] == 137
    box.start()
    box.stop(timeout=0)
    assert box.wait(condition="not-running")["StatusCode"] == 137
    box.remove()
    assert client.containers.list(all=True) == []


def test_logs(client: Any, box: Any) -> None:
    wait_for(lambda: box.logs() and len(box.logs().splitlines()) == 2, "two lines")
    assert box.logs(stderr=False) == b"one\n"
    assert box.logs(stdout=False) == b"two\n"
    assert box.logs(tail=0) == b""
    stream = box.logs(stream=True, follow=True, stderr=False)
    assert next(stream) == b"one\n"
    box.kill()
    assert list(stream) == []


def test_exec_run(box: Any) -> None:
    done = box.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert (done.exit_code, done.output) == (5, (b"out\n", b"err\n"))
    done = box.exec_run("id -u", user="user", environment={"A": "1"}, workdir="/tmp")
    assert (done.exit_code, done.output) == (0, b"1000\n")
    streamed = box.exec_run(["sh", "-c", "for i in 1 2 3; do echo $i; done"], stream=True)
    assert b"".join(streamed.output) == b"1\n2\n3\n"
    assert box.exec_run("tty", tty=True).output.startswith(b"/dev/pts/")
    assert box.exec_run("no-such").exit_code == 127


def test_exec_over_a_socket(box: Any) -> None:
    _, channel = box.exec_run("cat", stdin=True, socket=True)
    raw: socket.socket = channel._sock
    raw.sendall(b"through")
    raw.shutdown(socket.SHUT_WR)
    data = b""
    while piece := raw.recv(4096):
        data += piece
    channel.close()
    assert data == b"\x01\0\0\0\0\0\0\x07through"


def test_attach_before_the_start(client: Any) -> None:
    made = client.containers.create("busybox", "cat", stdin_open=True, network_mode="none", detach=False)
    channel = made.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    made.start()
    channel._sock.sendall(b"hello\n")
    channel._sock.shutdown(socket.SHUT_WR)
    data = b""
    while piece := channel._sock.recv(4096):
        data += piece
    channel.close()
    assert data == b"\x01\0\0\0\0\0\0\x06hello\n"
    assert made.wait()["StatusCode"] == 0


def test_attach_as_a_stream(client: Any) -> None:
    # Not with logs=True: docker-py loses what comes in one piece with the answer's head.
    made = client.containers.create("busybox", ["sh", "-c", "echo one; echo two >&2"], network_mode="none")
    stream = made.attach(stream=True, logs=False)
    made.start()
    assert sorted(stream) == [b"one\n", b"two\n"]


def test_events(client: Any) -> None:
    client.containers.run("busybox", "true", remove=True, network_mode="none", name="noted")
    stream = client.events(since=0, until=1, decode=True)
    assert list(stream) == []
    found = client.events(since=0, until=int(time.time()) + 1, decode=True, filters={"container": "noted"})
    assert [event["Action"] for event in found if event["Type"] == "container"][-1] == "destroy"


def test_images(client: Any) -> None:
    (image,) = client.images.list("busybox")
    assert image.tag("copy", "two")
    assert sorted(client.images.get("copy:two").tags) == ["busybox:latest", "copy:two"]
    assert image.history()[0]["Id"] == image.id
    client.images.remove("copy:two")
    answer = client.api.import_image_from_data(busybox_tar(), repository="made", tag="1")
    assert "sha256:" in answer
    client.images.remove("made:1")
    with pytest.raises(docker.errors.ImageLoadError, match="ends in the middle"):
        list(client.images.load(io.BytesIO(b"no archive")))


def test_stats(box: Any) -> None:
    assert box.stats(stream=False)["memory_stats"]["usage"] > 0
