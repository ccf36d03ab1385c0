"""Attach and exec over HTTP in every mixture of logs, stream and streams; docker-py and docker's CLI."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest
from tests.system.engine_kit import split_frames
from tests.system.sampand import Sampand, needs_busybox, needs_root, serve, wait_for

pytestmark = [
    needs_root,
    needs_busybox,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # docker-py leaves sockets
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampand]:
    daemon = serve(tmp_path_factory.mktemp("sampand"))
    try:
        yield daemon
    finally:
        daemon.close()


def create(daemon: Sampand, *command: str, **body: Any) -> str:
    wanted = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none"}} | body
    return str(daemon.call("POST", "/containers/create", wanted)["Id"])


class Hijacked:
    """A connection that became a stream."""

    def __init__(self, daemon: Sampand, path: str, body: Any = None, *, upgrade: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(daemon.socket)
        data = b"" if body is None else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
        head += "Content-Type: application/json\r\n" if data else ""
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        self.sock.sendall(head.encode() + b"\r\n" + data)
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            part = self.sock.recv(4096)
            assert part, "no answer"
            self.buffer += part
        self.head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")

    def rest(self) -> bytes:
        """Return everything up to the end."""
        while part := self.sock.recv(1 << 16):
            self.buffer += part
        self.sock.close()
        return self.buffer

    def until(self, text: bytes) -> bytes:
        """Return what came up to text."""
        while text not in self.buffer:
            part = self.sock.recv(1 << 16)
            assert part, f"it ended: {self.buffer!r}"
            self.buffer += part
        return self.buffer


def attach(daemon: Sampand, container: str, query: str, *, upgrade: bool = True) -> Hijacked:
    return Hijacked(daemon, f"/v1.44/containers/{container}/attach?{query}", upgrade=upgrade)


@pytest.mark.parametrize("upgrade", [True, False])
def test_replay_alone(daemon: Sampand, *, upgrade: bool) -> None:
    container = create(daemon, "sh", "-c", "echo out; echo err >&2; exec sleep 100")
    daemon.call("POST", f"/containers/{container}/start")
    wait_for(lambda: daemon.request("GET", f"/containers/{container}/logs?stderr=1")[2], "it has spoken")
    both = attach(daemon, container, "logs=1&stdout=1&stderr=1", upgrade=upgrade)
    assert split_frames(both.rest()) == (b"out\n", b"err\n")
    assert both.head.startswith(b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK")
    assert b"application/vnd.docker.multiplexed-stream" in both.head
    one = attach(daemon, container, "logs=1&stderr=1&stream=0", upgrade=upgrade)
    assert split_frames(one.rest()) == (b"", b"err\n")
    daemon.call("POST", f"/containers/{container}/kill")
    ended = attach(daemon, container, "logs=1&stdout=1", upgrade=upgrade)
    assert split_frames(ended.rest()) == (b"out\n", b"")


def test_a_container_that_is_paused_meanwhile(daemon: Sampand) -> None:
    """Every attach is answered: by a stream, or by the refusal that it would have got a moment later."""
    ref = create(daemon, "sleep", "1000")
    daemon.call("POST", f"/containers/{ref}/start")
    for _ in range(15):
        with ThreadPoolExecutor(5) as pool:
            heads = [
                pool.submit(lambda: Hijacked(daemon, f"/containers/{ref}/attach?stdout=1&logs=1").head)
                for _ in range(5)
            ]
            daemon.call("POST", f"/containers/{ref}/pause")
            daemon.call("POST", f"/containers/{ref}/unpause")
        assert {one.result().split(b" ")[1] for one in heads} <= {b"101", b"409"}
    daemon.call("DELETE", f"/containers/{ref}?force=1")


def test_neither_replay_nor_stream_ends_at_once(daemon: Sampand) -> None:
    container = create(daemon, "sleep", "100")
    daemon.call("POST", f"/containers/{container}/start")
    assert attach(daemon, container, "stdout=1&stderr=1").rest() == b""
    daemon.call("POST", f"/containers/{container}/kill")


def test_replay_then_stream(daemon: Sampand) -> None:
    container = create(daemon, "sh", "-c", "echo first; cat", OpenStdin=True, StdinOnce=True)
    daemon.call("POST", f"/containers/{container}/start")
    wait_for(lambda: daemon.request("GET", f"/containers/{container}/logs?stdout=1")[2], "it has spoken")
    client = attach(daemon, container, "logs=1&stream=1&stdin=1&stdout=1&stderr=1")
    client.until(b"first\n")
    client.sock.sendall(b"typed\n")
    client.until(b"typed\n")
    client.sock.shutdown(socket.SHUT_WR)
    assert split_frames(client.rest()) == (b"first\ntyped\n", b"")
    assert daemon.call("POST", f"/containers/{container}/wait")["StatusCode"] == 0


def test_input_alone_and_half_close_without_a_terminal(daemon: Sampand) -> None:
    container = create(daemon, "sh", "-c", "cat; echo end", OpenStdin=True, StdinOnce=True)
    client = attach(daemon, container, "stream=1&stdin=1")
    daemon.call("POST", f"/containers/{container}/start")
    client.sock.sendall(b"x" * 200_000)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.rest() == b""
    daemon.call("POST", f"/containers/{container}/wait")
    _, _, raw = daemon.request("GET", f"/containers/{container}/logs?stdout=1")
    assert split_frames(raw)[0] == b"x" * 200_000 + b"end\n"


def test_open_input_outlives_a_client_that_is_not_the_only_one(daemon: Sampand) -> None:
    container = create(daemon, "cat", OpenStdin=True)
    daemon.call("POST", f"/containers/{container}/start")
    for text in (b"one\n", b"two\n"):
        client = attach(daemon, container, "stream=1&stdin=1&stdout=1")
        client.sock.sendall(text)
        client.until(text)
        client.sock.close()
    assert daemon.call("GET", f"/containers/{container}/json")["State"]["Running"]
    daemon.call("POST", f"/containers/{container}/kill")


@pytest.mark.parametrize(("query", "keys"), [("", b"\x10\x11"), ("&detachKeys=ctrl-x,y", b"\x18y")])
def test_detach_keys_on_a_terminal(daemon: Sampand, query: str, keys: bytes) -> None:
    container = create(daemon, "cat", OpenStdin=True, Tty=True)
    daemon.call("POST", f"/containers/{container}/start")
    client = attach(daemon, container, f"stream=1&stdin=1&stdout=1{query}")
    assert b"application/vnd.docker.raw-stream" in client.head
    client.sock.sendall(b"hi\n")
    client.until(b"hi\r\nhi\r\n")
    client.sock.sendall(keys)
    client.rest()
    assert daemon.call("GET", f"/containers/{container}/json")["State"]["Running"]
    daemon.call("POST", f"/containers/{container}/kill")


def test_exec_resize_inspect_and_detach(daemon: Sampand) -> None:
    container = create(daemon, "sleep", "100")
    daemon.call("POST", f"/containers/{container}/start")
    body = {
        "Cmd": ["sh", "-c", "read x; stty size; exit 7"],
        "AttachStdin": True,
        "AttachStdout": True,
        "Tty": True,
    }
    made = daemon.call("POST", f"/containers/{container}/exec", body)["Id"]
    client = Hijacked(daemon, f"/v1.44/exec/{made}/start", {"Tty": True})
    assert daemon.request("POST", f"/exec/{made}/resize?h=33&w=77")[0] in (200, 201)
    running = daemon.call("GET", f"/exec/{made}/json")
    assert (running["Running"], running["ExitCode"], running["ProcessConfig"]["tty"]) == (True, None, True)
    client.sock.sendall(b"\n")
    client.until(b"33 77")
    client.rest()
    found = daemon.call("GET", f"/exec/{made}/json")
    assert (found["Running"], found["ExitCode"], found["ContainerID"]) == (False, 7, container)
    body = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "Tty": True, "DetachKeys": "ctrl-a"}
    made = daemon.call("POST", f"/containers/{container}/exec", body)["Id"]
    client = Hijacked(daemon, f"/v1.44/exec/{made}/start", {"Tty": True})
    client.sock.sendall(b"hi\n")
    client.until(b"hi\r\nhi\r\n")
    client.sock.sendall(b"\x01")
    client.rest()
    assert daemon.call("GET", f"/exec/{made}/json")["Running"]
    daemon.call("POST", f"/containers/{container}/kill")


def test_docker_py(daemon: Sampand) -> None:
    client = docker.DockerClient(base_url=daemon.host)
    try:
        container = client.containers.run(
            "busybox", ["sh", "-c", "echo out; echo err >&2; sleep 100"], detach=True, network_mode="none"
        )
        wait_for(lambda: container.logs(stderr=True, stdout=False), "it has spoken")
        assert container.attach(logs=True, stream=False, stdout=True, stderr=False) == b"out\n"
        demuxed = client.api.attach(container.id, logs=True, stream=False, demux=True)
        assert demuxed == (b"out\n", b"err\n")
        code, output = container.exec_run(["sh", "-c", "echo a; echo b >&2; exit 3"], demux=True)
        assert (code, output) == (3, (b"a\n", b"b\n"))
        code, sock = container.exec_run("cat", stdin=True, socket=True)
        sock._sock.sendall(b"through\n")
        assert sock._sock.recv(100).endswith(b"through\n")
        sock._sock.close()
        container.remove(force=True)
    finally:
        client.close()
        gc.collect()  # what docker-py left is collected here, not in a test of another file


def test_docker_cli(daemon: Sampand) -> None:
    run = ("run", "-i", "--rm", "--network", "none", "busybox")
    assert daemon.docker(*run, "cat", stdin=b"in\n" * 50_000).out == b"in\n" * 50_000
    assert (
        daemon.docker("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "100").code == 0
    )
    done = daemon.docker("exec", "-i", "web", "sh", "-c", "wc -c; echo err >&2; exit 4", stdin=b"12345")
    assert (done.code, done.text, done.err) == (4, "5", "err\n")
    assert daemon.docker("exec", "-d", "web", "touch", "/tmp/x").code == 0
    wait_for(lambda: daemon.docker("exec", "web", "ls", "/tmp/x").code == 0, "the exec has run")
    daemon.docker("rm", "-f", "web")


def _mask(opcode: int, data: bytes) -> bytes:
    """Return a frame as a client sends it: final, masked (RFC 6455, section 5.2)."""
    key = b"\1\2\3\4"
    assert len(data) < 126
    return bytes((0x80 | opcode, 0x80 | len(data))) + key + bytes(b ^ key[i % 4] for i, b in enumerate(data))


def _payloads(raw: bytes) -> tuple[bytes, list[int]]:
    """Return the data of the messages in raw, put together, and the frames' opcodes."""
    data, opcodes, at = b"", [], 0
    while at < len(raw):
        size, begin = raw[at + 1], at + 2
        if size == 126:
            size, begin = int.from_bytes(raw[begin : begin + 2], "big"), begin + 2
        elif size == 127:
            size, begin = int.from_bytes(raw[begin : begin + 8], "big"), begin + 8
        opcodes.append(raw[at] & 15)
        if opcodes[-1] != 8:
            data += raw[begin : begin + size]
        at = begin + size
    return data, opcodes


def test_a_websocket_goes_both_ways_up_to_the_end(daemon: Sampand) -> None:
    container = create(
        daemon, "sh", "-c", "read x; echo got $x; echo oops >&2; seq 50000", OpenStdin=True, StdinOnce=True
    )
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(daemon.socket)
    path = f"/v1.51/containers/{container}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1"
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += sock.recv(4096)
    head, _, raw = raw.partition(b"\r\n\r\n")
    assert b" 101 " in head
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # the example of RFC 6455, 1.3
    daemon.call("POST", f"/containers/{container}/start")
    sock.sendall(_mask(2, b"word\n"))
    while part := sock.recv(1 << 16):
        raw += part
    sock.close()
    data, opcodes = _payloads(raw)
    numbers = "".join(f"{number}\n" for number in range(1, 50_001)).encode()
    assert data.replace(b"oops\n", b"", 1) == b"got word\n" + numbers  # two pipes have no order
    assert opcodes[-1] == 8
    assert 8 not in opcodes[:-1]
