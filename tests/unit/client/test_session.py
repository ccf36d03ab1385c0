"""A session over connections: versions, errors, streams."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.client.scripted import Scripted, answer

from sampan.client.address import parse_address
from sampan.client.http import Disconnected
from sampan.client.session import Session, error_for
from sampan.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    NotModified,
    SampanError,
    TimedOut,
    Unavailable,
)


def test_two_calls_use_one_connection(tmp_path: Path) -> None:
    with Scripted(tmp_path, [answer(b'{"a":1}'), answer(b"", status="204 No Content")]) as daemon:
        session = daemon.session()
        assert session.call("GET", "/info", [("x", "y z")]) == {"a": 1}
        assert session.call("POST", "/containers/a/start") is None
        session.close()
    assert daemon.requests[0].startswith(b"GET /v1.51/info?x=y%20z HTTP/1.1\r\nHost: sampan\r\n")
    assert b"Content-Length: 0" in daemon.requests[1]


def test_own_endpoints_carry_no_version(tmp_path: Path) -> None:
    with Scripted(tmp_path, [answer(b"{}")]) as daemon:
        session = daemon.session()
        session.call("GET", "/sampan/v1/system/status")
        session.close()
    assert daemon.requests[0].startswith(b"GET /sampan/v1/system/status HTTP/1.1")


def test_an_older_daemon_is_asked_again_in_its_version(tmp_path: Path) -> None:
    text = b'{"message":"client version 1.51 is too new"}'
    too_new = answer(text, status="400 Bad Request").replace(b"Api-Version: 1.51", b"Api-Version: 1.41")
    with Scripted(tmp_path, [too_new, answer(b"[]"), answer(b"[]")]) as daemon:
        session = daemon.session()
        assert session.call("GET", "/containers/json") == []
        assert session.call("GET", "/images/json") == []
        session.close()
    assert [request.split()[1] for request in daemon.requests] == [
        b"/v1.51/containers/json",
        b"/v1.41/containers/json",
        b"/v1.41/images/json",
    ]


def test_an_upload_asks_for_the_version_first(tmp_path: Path) -> None:
    pong = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n"
    with Scripted(tmp_path, [pong, answer(b"")]) as daemon:
        session = daemon.session()
        session.open("POST", "/images/load", chunks=iter([b"ab", b"", b"c"])).close()
        session.close()
    assert daemon.requests[0].startswith(b"HEAD /_ping")
    assert daemon.requests[1].startswith(b"POST /v1.41/images/load")
    assert daemon.requests[1].endswith(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")


def test_a_refusal_becomes_the_error_for_its_status(tmp_path: Path) -> None:
    refusal = answer(b'{"message":"No such container: x","hint":"look"}', status="404 Not Found")
    with Scripted(tmp_path, [refusal, answer(b"{}")]) as daemon:
        session = daemon.session()
        with pytest.raises(NotFound, match="No such container: x") as caught:
            session.call("GET", "/containers/x/json")
        assert caught.value.hint == "look"
        assert session.call("GET", "/info") == {}  # on the same connection
        session.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (304, NotModified),
        (400, InvalidArgument),
        (404, NotFound),
        (409, Conflict),
        (503, Unavailable),
        (500, SampanError),
    ],
)
def test_classes_of_refusals(status: int, kind: type[SampanError]) -> None:
    assert type(error_for(status, b'{"message":"m"}', "")) is kind


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the daemon answered 500 Oops"),
        (b"plain text\n", "plain text"),
        (b"[1]", "the daemon answered 500 Oops"),
    ],
)
def test_refusals_of_other_forms(body: bytes, text: str) -> None:
    assert str(error_for(500, body, "Oops")) == text


def test_a_closed_idle_connection_is_replaced(tmp_path: Path) -> None:
    with Scripted(tmp_path, [answer(b"1")], [answer(b"2")]) as daemon:
        session = daemon.session()
        assert session.call("GET", "/a") == 1
        assert session.call("GET", "/b") == 2
        session.close()


def test_a_daemon_that_dies_in_the_middle(tmp_path: Path) -> None:
    with Scripted(tmp_path, [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"]) as daemon:
        with pytest.raises(Disconnected, match=r"api\.sock closed the connection"):
            daemon.session().call("GET", "/info")


def test_a_hijacked_connection_tells_its_framing(tmp_path: Path) -> None:
    head = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\r\n"
    with Scripted(tmp_path, [head + b"early"]) as daemon:
        stream = daemon.session().hijack("POST", "/containers/a/attach", [("stdout", "1")])
        assert (stream.framed, stream.early) == (True, b"early")
        stream.sock.close()
    assert b"\r\nUpgrade: tcp\r\n" in daemon.requests[0]


def test_a_refusal_during_an_upload_is_what_counts(tmp_path: Path) -> None:
    pong = answer(b"")
    refusal = answer(
        b'{"message":"archive is damaged"}', status="400 Bad Request", headers=["Connection: close"]
    )
    with Scripted(tmp_path, [pong, refusal]) as daemon:
        with pytest.raises(InvalidArgument, match="archive is damaged"):
            daemon.session().open("POST", "/images/load", chunks=iter([b"x" * 1000]))


def test_a_silent_daemon_is_given_up(tmp_path: Path) -> None:
    with Scripted(tmp_path, [answer()], delay_s=0.3) as daemon:
        session = Session(parse_address(f"unix://{daemon.path}"), timeout_s=0.05)
        with pytest.raises(TimedOut, match=r"did not answer within 0\.05 s"):
            session.call("GET", "/info")


def test_what_waits_by_its_nature_has_no_limit(tmp_path: Path) -> None:
    with Scripted(tmp_path, [answer(b'{"StatusCode":0}')], delay_s=0.2) as daemon:
        session = Session(parse_address(f"unix://{daemon.path}"), timeout_s=0.01)
        assert session.call("POST", "/containers/a/wait", patient=True) == {"StatusCode": 0}
        session.close()
