"""Connections that become streams, and answers that come over time (docs/api.md, "Streams")."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest
from tests.unit.daemon.door_fixture import (
    EXEC_ID,
    ID,
    Served,
    ask,
    build,
    exchange,
    read_head,
    read_response,
    read_to_end,
    split_frames,
)

from sampan.engine.types import WaitResult
from sampan.errors import CommandNotFound
from sampan.spec import docker


def wait_for(condition: object) -> None:
    """Poll until condition() is true."""
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        pytest.param("1.51", False, b"application/vnd.docker.multiplexed-stream", id="frames"),
        pytest.param("1.51", True, b"application/vnd.docker.raw-stream", id="terminal"),
        pytest.param("1.41", False, b"application/vnd.docker.raw-stream", id="frames, old name"),
    ],
)
def test_attach_head_is_literal(door: Served, version: str, tty: bool, kind: bytes) -> None:
    door.engine.containers.tty = tty
    with door.connect() as sock:
        sock.sendall(build(f"POST /v{version}/containers/box/attach?stream=1&stdin=1", upgrade=True))
        head, rest = read_head(sock)
        kept = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: " + kind
        assert head == kept + b"\r\nConnection: Upgrade\r\nUpgrade: tcp"
        assert rest == b""
        wait_for(lambda: door.engine.containers.calls)
    assert door.engine.containers.calls[-1][1] is not tty


def test_attach_without_upgrade_is_200_up_to_the_end(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(build("POST /containers/box/attach?stream=1&logs=1&stdin=1"))
        head, rest = read_head(sock)
        assert head == b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream"
        sock.sendall(b"data")
        sock.shutdown(socket.SHUT_WR)
        assert split_frames(rest + read_to_end(sock)) == [(1, b"data"), (1, b"bye")]


def test_attach_error_is_raw(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(build("POST /containers/other/attach", upgrade=True))
        answer = read_to_end(sock)
    assert answer == (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        b"No such container: other\r\n"
    )


def test_attach_keeps_what_came_early_and_large_streams_exact(door: Served) -> None:
    data = os.urandom(1 << 20)
    with door.connect() as sock:
        sock.sendall(build("POST /containers/box/attach?stream=1&logs=1&stdin=1", upgrade=True) + b"early")
        _, rest = read_head(sock)
        received = bytearray(rest)
        for start in range(0, len(data), 1 << 16):
            sock.sendall(data[start : start + (1 << 16)])
            received += sock.recv(1 << 18)
        sock.shutdown(socket.SHUT_WR)
        received += read_to_end(sock)
    frames = split_frames(bytes(received))
    assert b"".join(part for _, part in frames) == b"early" + data + b"bye"


def test_wait_sends_its_head_at_once(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(build("POST /containers/box/wait?condition=removed"))
        head, rest = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert (rest, door.engine.containers.calls) == (b"", [("wait", "removed")])
        door.engine.containers.exits.fire(WaitResult(status_code=42))
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += sock.recv(4096)
    assert b'{"StatusCode":42}' in body
    wait_for(lambda: door.engine.containers.exits.cancelled == 1)


def test_wait_of_a_vanished_client_is_given_up(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(build("POST /containers/box/wait"))
        read_head(sock)
    wait_for(lambda: door.engine.containers.exits.cancelled == 1)


def test_logs_in_frames(door: Served) -> None:
    with door.connect() as sock:
        _, headers, body = ask(sock, "GET /containers/box/logs?stdout=1&stderr=1")
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert split_frames(body) == [(1, b"out\n"), (2, b"err\n")]
    wait_for(lambda: door.engine.containers.log is not None and door.engine.containers.log.closed)


def test_logs_follow_until_finished(door: Served) -> None:
    door.engine.containers.tty = True
    with door.connect() as sock:
        sock.sendall(build("GET /containers/box/logs?stdout=1&follow=1"))
        wait_for(lambda: door.engine.containers.log is not None)
        assert door.engine.containers.log is not None
        os.write(door.engine.containers.log.write_fd, b"x")
        _, _, body = read_response(sock)
    assert body == b"out\nerr\nlate\n"


def test_logs_of_a_vanished_client_are_closed(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(build("GET /containers/box/logs?stdout=1&follow=1"))
        read_head(sock)
    wait_for(lambda: door.engine.containers.log is not None and door.engine.containers.log.closed)


def test_logs_that_fail_half_way_break_off(door: Served) -> None:
    door.engine.containers.log_error = RuntimeError("disk")
    with door.connect() as sock:
        sock.sendall(build("GET /containers/box/logs?stdout=1"))
        answer = read_to_end(sock)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"disk" not in answer
    assert not answer.endswith(b"0\r\n\r\n")  # the client can tell that something is missing


def test_an_engine_that_meets_a_dead_peer_is_no_dead_client(door: Served) -> None:
    door.engine.containers.start_error = ConnectionRefusedError(111, "Connection refused")
    with door.connect() as sock:
        status, _, answer = ask(sock, "POST /containers/box/start")
    assert (status, b"Connection refused" in answer) == (500, True)


def test_a_body_is_asked_for(door: Served) -> None:
    body = b'{"Image":"box"}'
    request = build("POST /containers/create", body, headers="Expect: 100-continue")
    with door.connect() as sock:
        sock.sendall(request.removesuffix(body))
        assert read_head(sock) == (b"HTTP/1.1 100 Continue", b"")
        sock.sendall(body)
        assert read_response(sock)[0] == 201


def event(action: str) -> docker.Event:
    return docker.Event(
        Type="container",
        Action=action,
        Actor=docker.Actor(ID=ID, Attributes={"image": "x"}),
        time=1,
        timeNano=1,
    )


def test_events_past_and_new_until_a_time(door: Served) -> None:
    door.engine.events.past = [event("create")]
    until = time.time() + 0.2
    with door.connect() as sock:
        sock.sendall(build(f"GET /events?since=1.5&until={until:.9f}"))
        wait_for(lambda: door.engine.events.subscribers.waiting)
        door.engine.events.subscribers.fire(event("start"))
        _, _, body = read_response(sock)
    actions = [json.loads(line)["Action"] for line in body.splitlines()]
    assert actions == ["create", "start"]
    first = json.loads(body.splitlines()[0])
    assert (first["status"], first["id"], first["from"]) == ("create", ID, "x")
    assert door.engine.events.asked["since_ns"] == 1_500_000_000
    wait_for(lambda: door.engine.events.subscribers.cancelled == 1)


def test_events_of_the_past_alone(door: Served) -> None:
    door.engine.events.past = [event("create")] * 3
    with door.connect() as sock:
        _, _, body = ask(sock, "GET /events?since=1&until=2")
    assert len(body.splitlines()) == 3


START_EXEC = f"POST /exec/{EXEC_ID}/start"


def test_exec_start_with_a_body_and_an_upgrade(door: Served) -> None:
    body = b'{"Detach":false,"Tty":false,"ConsoleSize":[24,80]}'
    with door.connect() as sock:
        sock.sendall(build(START_EXEC, body, upgrade=True))
        head, rest = read_head(sock)
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"\r\nApi-Version: 1.51\r\n" in head
        sock.sendall(b"in")
        sock.shutdown(socket.SHUT_WR)
        assert split_frames(rest + read_to_end(sock)) == [(1, b"in"), (1, b"bye")]
    assert door.engine.execs.started[0]["console_size"] == (24, 80)


def test_exec_start_that_fails_tells_it_in_the_stream(door: Served) -> None:
    body = b'{"Tty":false,"ConsoleSize":[1,1]}'
    with door.connect() as sock:
        sock.sendall(build(START_EXEC, body, upgrade=True))
        _, rest = read_head(sock)
        assert split_frames(rest + read_to_end(sock)) == [
            (1, b'exec: "nope": executable file not found in $PATH\r\n')
        ]


def test_exec_start_detached_is_a_plain_answer(door: Served) -> None:
    body = b'{"Detach":true}'
    with door.connect() as sock:
        status, _, answer = ask(sock, START_EXEC, body)
    assert (status, answer) == (200, b"")
    assert door.engine.execs.started[0]["detach"] is True


def test_exec_start_of_nothing_is_a_normal_error(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(build("POST /exec/nothing/start", upgrade=True) + build("GET /_ping"))
        answers = b""
        while not answers.endswith(b"\r\n\r\nOK"):
            answers += sock.recv(65536)
    assert answers.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b'{"message":"No such exec instance: nothing"}' in answers
    # nothing was taken over: the connection still speaks HTTP, and what came behind is answered


RUN = "POST /sampan/v1/run?stdin=1&stdout=1&stderr=1"


def test_run_in_one_exchange(door: Served) -> None:
    body = b'{"Image":"box","HostConfig":{"AutoRemove":true}}'
    with door.connect() as sock:
        sock.sendall(build(RUN, body, upgrade=True))
        head, rest = read_head(sock)
        assert b"application/vnd.sampan.session" in head
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        frames = split_frames(rest + read_to_end(sock))
    assert frames == [
        (4, json.dumps({"Id": ID, "Warnings": []}, separators=(",", ":")).encode()),
        (1, b"hello"),
        (1, b"bye"),
        (5, b'{"StatusCode":7,"Error":"","Hint":""}'),
    ]
    names = [call[0] for call in door.engine.containers.calls]
    assert names == ["wait", "attach", "start"]
    assert ("wait", "removed") in door.engine.containers.calls


def test_run_of_an_unknown_image_is_a_plain_error_and_the_connection_ends(door: Served) -> None:
    body = b'{"Image":"absent"}'
    with door.connect() as sock:
        sock.sendall(build(RUN, body, upgrade=True))
        status, headers, answer = read_response(sock)
        assert read_to_end(sock) == b""
    assert (status, headers["connection"]) == (404, "close")
    assert json.loads(answer)["message"] == "No such image: absent:latest"


def test_run_that_cannot_start_ends_in_its_last_frame(door: Served) -> None:
    door.engine.containers.start_error = CommandNotFound("executable file not found", hint="look")
    body = b'{"Image":"box"}'
    with door.connect() as sock:
        sock.sendall(build(RUN, body, upgrade=True))
        _, rest = read_head(sock)
        frames = split_frames(rest + read_to_end(sock))
    assert frames[-1] == (5, b'{"StatusCode":127,"Error":"executable file not found","Hint":"look"}')


def test_run_whose_client_goes_is_given_up(door: Served) -> None:
    body = b'{"Image":"box"}'
    with door.connect() as sock:
        sock.sendall(build(RUN, body, upgrade=True))
        read_head(sock)
        wait_for(lambda: ("start", ID) in door.engine.containers.calls)
    wait_for(lambda: door.engine.containers.exits.cancelled == 1)


def test_run_detached_is_one_plain_answer(door: Served) -> None:
    body = b'{"Image":"box"}'
    with door.connect() as sock:
        status, _, answer = ask(sock, "POST /sampan/v1/run?detach=1&name=n", body)
    assert (status, json.loads(answer)) == (201, {"Id": ID, "Warnings": []})
    assert door.engine.containers.calls == [("start", ID)]


def test_session_without_upgrade_is_refused(door: Served) -> None:
    body = b'{"Image":"box"}'
    with door.connect() as sock:
        status, _, answer = ask(sock, RUN, body)
    assert status == 400
    assert "Upgrade: tcp" in json.loads(answer)["message"]
    assert door.engine.containers.created == []


def test_exec_in_one_exchange_with_early_input(door: Served) -> None:
    body = b'{"Cmd":["cat"],"AttachStdin":true}'
    with door.connect() as sock:
        sock.sendall(build("POST /sampan/v1/containers/box/exec", body, upgrade=True) + b"early")
        _, rest = read_head(sock)
        sock.shutdown(socket.SHUT_WR)
        frames = split_frames(rest + read_to_end(sock))
    assert frames[0] == (4, json.dumps({"Id": EXEC_ID, "Warnings": []}, separators=(",", ":")).encode())
    assert frames[1:-1] == [(1, b"early"), (1, b"bye")]
    assert frames[-1] == (5, b'{"StatusCode":3,"Error":"","Hint":""}')


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def load_request(query: str = "") -> str:
    return (
        f"POST /images/load?{query} HTTP/1.1\nHost: x\nContent-Type: application/x-tar\n"
        "Transfer-Encoding: chunked"
    )


def test_load_tells_each_image(door: Served) -> None:
    data = os.urandom(9 << 20)
    with door.connect() as sock:
        _, headers, body = exchange(sock, load_request("quiet=0"), chunked(data))
    assert headers["content-type"] == "application/json"
    assert [json.loads(line)["stream"] for line in body.splitlines()] == [
        "reading\n",
        "Loaded image: x:latest\n",
        "Loaded image ID: sha256:2\n",
    ]
    assert door.engine.images.loaded == len(data)


def test_load_error_is_in_band(door: Served) -> None:
    with door.connect() as sock:
        status, _, body = exchange(sock, load_request(), chunked(b"bad archive"))
    assert status == 200
    assert json.loads(body) == {
        "errorDetail": {"message": "the archive is cut off"},
        "error": "the archive is cut off",
    }


def test_import_ends_with_the_id(door: Served) -> None:
    request = "POST /images/create?fromSrc=-&repo=x HTTP/1.1\nHost: x\nTransfer-Encoding: chunked"
    with door.connect() as sock:
        _, _, body = exchange(sock, request, chunked(b"12345"))
    assert json.loads(body) == {"status": "sha256:5"}
