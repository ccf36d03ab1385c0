"""The program sampand: several at once, its end by signals, its sudden death, and what clients see of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.sampand import SAMPAND, Sampand, needs_busybox, needs_root, serve, wait_for
from tests.unit.daemon.door_fixture import build, read_head, read_to_end, split_frames

pytestmark = [needs_root, needs_busybox]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Sampand]:
    """A daemon for one test, which may kill and start it."""
    served = serve(tmp_path)
    try:
        yield served
    finally:
        if served.process is None or served.process.poll() is not None:
            served.start()
        served.close()


def connect(daemon: Sampand) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(daemon.socket)
    return sock


def create(daemon: Sampand, *command: str, **config: Any) -> str:
    host = {"NetworkMode": "none", **config.pop("HostConfig", {})}
    body = {"Image": "busybox", "Cmd": list(command), "HostConfig": host, **config}
    return str(daemon.call("POST", "/containers/create", body)["Id"])


def test_second_daemon_on_the_same_roots_is_refused(daemon: Sampand) -> None:
    assert daemon.process is not None
    done = subprocess.run(
        [SAMPAND, f"--data-root={daemon.data}", f"--run-root={daemon.run}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"another sampand (pid {daemon.process.pid}) runs on {daemon.run}" in done.stderr
    assert "hint: " in done.stderr
    assert daemon.call("GET", "/containers/json") == []


def test_daemon_on_the_same_data_is_refused(daemon: Sampand, tmp_path: Path) -> None:
    done = subprocess.run(
        [SAMPAND, f"--data-root={daemon.data}", f"--run-root={tmp_path / 'other'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert str(daemon.data) in done.stderr
    assert not (tmp_path / "other" / "sampan.sock").exists()


def test_two_daemons_do_not_disturb_each_other(daemon: Sampand, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    other = serve(tmp_path / "second")
    try:
        here, there = (
            create(daemon, "sleep", "100", Hostname="h"),
            create(other, "sleep", "100", Hostname="h"),
        )
        daemon.call("POST", f"/containers/{here}/start")
        other.call("POST", f"/containers/{there}/start")
        assert [one["Id"] for one in daemon.call("GET", "/containers/json")] == [here]
        assert [one["Id"] for one in other.call("GET", "/containers/json")] == [there]
    finally:
        other.close()
    assert daemon.call("GET", f"/containers/{here}/json")["State"]["Running"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_end_by_signal_leaves_containers_running(daemon: Sampand, number: signal.Signals) -> None:
    identity = create(daemon, "sleep", "100")
    daemon.call("POST", f"/containers/{identity}/start")
    pid = daemon.call("GET", f"/containers/{identity}/json")["State"]["Pid"]
    assert daemon.process is not None
    with connect(daemon) as waiting:
        waiting.sendall(build(f"POST /containers/{identity}/wait"))
        read_head(waiting)
        daemon.process.send_signal(number)
        assert daemon.process.wait(20) == 0
    assert not Path(daemon.socket).exists()
    daemon.start()
    state = daemon.call("GET", f"/containers/{identity}/json")["State"]
    assert (state["Running"], state["Pid"]) == (True, pid)


def test_attached_stream_goes_on_while_sampand_is_dead(daemon: Sampand) -> None:
    identity = create(daemon, "sh", "-c", "read a; echo got $a; read b; echo got $b; exit 6", OpenStdin=True)
    with connect(daemon) as stream:
        stream.sendall(build(f"POST /containers/{identity}/attach?stdin=1&stdout=1&stream=1", upgrade=True))
        _, early = read_head(stream)
        daemon.call("POST", f"/containers/{identity}/start")
        stream.sendall(b"one\n")
        while b"got one" not in early:
            early += stream.recv(4096)
        daemon.kill()
        stream.sendall(b"two\n")
        frames = split_frames(early + read_to_end(stream))
    assert b"".join(data for _, data in frames) == b"got one\ngot two\n"
    daemon.start()
    assert daemon.call("POST", f"/containers/{identity}/wait") == {"StatusCode": 6}
    assert daemon.request("GET", f"/containers/{identity}/logs?stdout=1")[2].count(b"got") == 2


def test_kill_between_create_and_start_loses_nothing(daemon: Sampand) -> None:
    identity = create(daemon, "true", HostConfig={"AutoRemove": True})
    daemon.kill()
    daemon.start()
    assert daemon.call("GET", f"/containers/{identity}/json")["State"]["Status"] == "created"
    daemon.call("POST", f"/containers/{identity}/start")
    wait_for(lambda: daemon.call("GET", "/containers/json?all=1") == [], "removed by itself")


def test_stop_by_request(daemon: Sampand) -> None:
    shown = daemon.call("GET", "/sampan/v1/system/status")
    assert daemon.process is not None
    assert (shown["Pid"], shown["DataRoot"], shown["Hosts"]) == (
        daemon.process.pid,
        str(daemon.data),
        [daemon.host],
    )
    assert daemon.request("POST", "/sampan/v1/system/stop")[0] == 204
    assert daemon.process.wait(20) == 0


def session(daemon: Sampand, path: str, body: dict[str, Any], stdin: bytes = b"") -> list[tuple[int, bytes]]:
    """Carry out one session and return its frames."""
    with connect(daemon) as sock:
        sock.sendall(build(f"POST {path}", json.dumps(body).encode(), upgrade=True))
        head, rest = read_head(sock)
        assert head.startswith(b"HTTP/1.1 101 "), head + rest
        sock.sendall(stdin)
        sock.shutdown(socket.SHUT_WR)
        return split_frames(rest + read_to_end(sock))


STREAMS = "stdin=1&stdout=1&stderr=1"


def test_sessions_of_every_kind(daemon: Sampand) -> None:
    run = {"Image": "busybox", "OpenStdin": True, "StdinOnce": True, "HostConfig": {"NetworkMode": "none"}}
    removed = {**run, "Cmd": ["cat"], "HostConfig": {"NetworkMode": "none", "AutoRemove": True}}
    frames = session(daemon, f"/sampan/v1/run?{STREAMS}", removed, b"input")
    assert [kind for kind, _ in frames] == [4, 1, 5]
    assert frames[1:] == [(1, b"input"), (5, b'{"StatusCode":0,"Error":"","Hint":""}')]
    assert daemon.call("GET", "/containers/json?all=1") == []

    frames = session(
        daemon, f"/sampan/v1/run?{STREAMS}&name=kept", {**run, "Cmd": ["sh", "-c", "cat; exit 9"]}, b"a"
    )
    assert frames[-1] == (5, b'{"StatusCode":9,"Error":"","Hint":""}')
    frames = session(daemon, f"/sampan/v1/containers/kept/start?{STREAMS}", {}, b"again")
    assert frames[1:] == [(1, b"again"), (5, b'{"StatusCode":9,"Error":"","Hint":""}')]

    frames = session(daemon, f"/sampan/v1/run?{STREAMS}", {**removed, "Cmd": ["no-such"]})
    end = json.loads(frames[-1][1])
    assert (frames[-1][0], end["StatusCode"]) == (5, 127)
    assert "executable file not found" in end["Error"]


def test_session_on_a_terminal_is_framed_and_exec_as_well(daemon: Sampand) -> None:
    body = {"Image": "busybox", "Tty": True, "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}}
    status, _, answer = daemon.request("POST", "/sampan/v1/run?detach=1&name=box", body)
    assert status == 201, answer
    for tty in (False, True):
        command = {
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "Cmd": ["sh", "-c", "echo x; exit 3"],
        }
        frames = session(daemon, "/sampan/v1/containers/box/exec", command)
        assert frames[1:] == [(1, b"x\r\n" if tty else b"x\n"), (5, b'{"StatusCode":3,"Error":"","Hint":""}')]
    frames = session(daemon, "/sampan/v1/containers/box/exec", {"AttachStdout": True, "Cmd": ["no-such"]})
    assert json.loads(frames[-1][1])["StatusCode"] == 127


def test_slow_reader_gets_everything_and_then_the_end(daemon: Sampand) -> None:
    body = {"Image": "busybox", "Cmd": ["dd", "if=/dev/zero", "bs=1M", "count=8"]}
    body["HostConfig"] = {"NetworkMode": "none", "AutoRemove": True}  # type: ignore[assignment]
    with connect(daemon) as sock:
        sock.sendall(build("POST /sampan/v1/run?stdout=1", json.dumps(body).encode(), upgrade=True))
        _, rest = read_head(sock)
        threading.Event().wait(1)  # the socket's buffer is full by now, and the container waits
        frames = split_frames(rest + read_to_end(sock))
    assert sum(len(data) for kind, data in frames if kind == 1) == 8 << 20
    assert frames[-1][0] == 5


def descriptors(daemon: Sampand) -> int:
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def steady_descriptors(daemon: Sampand) -> int:
    """Count the daemon's descriptors once what it keeps ready (network namespaces) is there."""
    seen: list[int] = []

    def is_steady() -> bool:
        seen.append(descriptors(daemon))
        time.sleep(0.1)
        return len(seen) >= 10 and len(set(seen[-10:])) == 1

    wait_for(is_steady, "the daemon's descriptors are steady")
    return seen[-1]


def test_vanished_clients_leave_no_descriptor(daemon: Sampand) -> None:
    identity = create(daemon, "sleep", "1000", OpenStdin=True)
    daemon.call("POST", f"/containers/{identity}/start")
    requests = [
        build(f"POST /containers/{identity}/attach?stdin=1&stdout=1&stream=1", upgrade=True),
        build(f"POST /sampan/v1/containers/{identity}/attach?stdin=1&stdout=1", upgrade=True),
        build(f"POST /containers/{identity}/wait"),
        build(f"GET /containers/{identity}/logs?stdout=1&follow=1"),
        build("GET /events"),
        build(f"GET /containers/{identity}/stats"),
    ]

    def flood(times: int) -> None:
        for _ in range(times):
            socks = [connect(daemon) for _ in requests]
            for sock, request in zip(socks, requests, strict=True):
                sock.sendall(request)
            for sock in socks:
                read_head(sock)
                sock.close()

    flood(2)  # threads and their like exist now
    wait_for(lambda: daemon.call("GET", "/info")["NEventsListener"] == 0, "subscriptions ended")
    before = steady_descriptors(daemon)
    flood(20)
    wait_for(lambda: descriptors(daemon) <= before + 1, "descriptors are back")
    assert daemon.call("GET", f"/containers/{identity}/json")["State"]["Running"]


def test_malformed_requests_leave_it_well(daemon: Sampand) -> None:
    bad = [
        b"\0\1\2\3",
        b"GET\r\n\r\n",
        b"GET /_ping HTTP/9.9\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        build("POST /containers/create?name=a%0ab", b'{"Image":"busybox"}'),
        build(
            "POST /containers/create",
            b'{"Image":"busybox","Labels":{"a\\u0000":"b\\r\\n"},"Env":["\\u0000"]}',
        ),
        build(
            "POST /containers/create", b'{"Image":"busybox","Env":["no equals","A=\\n"],"Hostname":"../x"}'
        ),
        build("POST /containers/..%2f..%2fetc/start"),
        build("DELETE /images/..%2f..%2fetc"),
    ]
    for request in bad:
        with connect(daemon) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            try:
                answer = read_to_end(sock)
            except ConnectionResetError:
                answer = b""
        assert not answer.startswith(b"HTTP/1.1 5"), (request[:80], answer)
    assert daemon.call("GET", "/info")["Containers"] <= 1
    assert "Traceback" not in daemon.log.read_text()
