"""The rules for every request: routes, versions, bodies, parameters, errors, security (docs/api.md)."""

from __future__ import annotations

import json

import pytest
from tests.unit.daemon.door_fixture import ID, Served, ask, exchange, read_response

GET = "GET {} HTTP/1.1\nHost: localhost"


@pytest.mark.parametrize(
    ("request_line", "status", "message"),
    [
        pytest.param("GET /nothing", 404, "page not found", id="unknown path"),
        pytest.param("POST /containers/json", 404, "page not found", id="wrong method is no 405"),
        pytest.param("GET /containers//json", 404, "page not found", id="empty name"),
        pytest.param("GET /containers/a/b/json", 404, "page not found", id="a container name has no slash"),
        pytest.param("GET //v1.45/../containers/json", 404, "page not found", id="paths are not cleaned"),
        pytest.param(
            "GET /v1.23/containers/json",
            400,
            "client version 1.23 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
            id="too old",
        ),
        pytest.param(
            "GET /v1.52/containers/json",
            400,
            "client version 1.52 is too new. Maximum supported API version is 1.51",
            id="too new",
        ),
        pytest.param(
            "GET /v1/containers/json", 400, "API version '1' is not of the form 1.51", id="half a version"
        ),
        pytest.param(
            "GET /containers/json?filters=nope", 400, "invalid filter 'nope'", id="filters that are no JSON"
        ),
        pytest.param(
            "GET /containers/json?limit=many", 400, "invalid value 'many' for limit", id="no number"
        ),
        pytest.param("GET /containers/a%00b/json", 400, "control characters", id="NUL in a name"),
        pytest.param("GET /containers/a%0d%0ab/json", 400, "control characters", id="line end in a name"),
        pytest.param("GET /containers/%ff/json", 400, "not UTF-8", id="a name that is not UTF-8"),
        pytest.param("GET http://evil/containers/json", 400, "must be a path", id="absolute target"),
        pytest.param(
            "POST /containers/box/wait?condition=x", 400, 'invalid condition: "x"', id="wait condition"
        ),
        pytest.param(
            "POST /containers/box/resize?h=1", 400, "resize needs the parameters h and w", id="half a size"
        ),
        pytest.param(
            "POST /containers/box/resize?h=1&w=70000", 400, "invalid terminal size", id="size too large"
        ),
        pytest.param(
            "POST /containers/box/resize?h=1&w=2", 409, f"container {ID} is not running", id="conflict"
        ),
        pytest.param(
            "GET /containers/box/logs", 400, "you must choose at least one stream", id="no stream of logs"
        ),
        pytest.param("GET /services", 503, "This node is not a swarm manager", id="swarm"),
        pytest.param("GET /networks/ab", 404, "network ab not found", id="network"),
        pytest.param(
            "DELETE /networks/none",
            403,
            "none is a pre-defined network and cannot be removed",
            id="network rm",
        ),
        pytest.param("POST /containers/box/rename?name=y", 500, "boom", id="unexpected error"),
        pytest.param("GET /system/df?type=x", 400, "unknown object type: x", id="df type"),
    ],
)
def test_refusals(door: Served, request_line: str, status: int, message: str) -> None:
    with door.connect() as sock:
        got, headers, body = exchange(sock, f"{request_line} HTTP/1.1\nHost: localhost")
    assert (got, headers["content-type"]) == (status, "application/json")
    assert message in json.loads(body)["message"]
    assert headers["api-version"] == "1.51"


def test_hint_stands_beside_the_message(door: Served) -> None:
    body = b'{"Image":"absent"}'
    with door.connect() as sock:
        status, _, answer = ask(sock, "POST /containers/create", body)
    assert status == 404
    assert json.loads(answer) == {"message": "No such image: absent:latest", "hint": "try another"}


def test_ping_of_both_methods_on_one_connection(door: Served) -> None:
    with door.connect() as sock:
        head = exchange(sock, "HEAD /_ping HTTP/1.1\nHost: x")
        get = exchange(sock, GET.format("/v1.24/_ping"))
    assert (head[0], head[1]["content-length"], head[2]) == (200, "0", b"")
    assert (get[0], get[2]) == (200, b"OK")
    for headers in (head[1], get[1]):
        assert headers["api-version"] == "1.51"
        assert headers["ostype"] == "linux"
        assert headers["docker-experimental"] == "false"
        assert headers["server"].startswith("Docker/")
        assert headers["builder-version"] == "1"
        assert headers["cache-control"] == "no-cache, no-store, must-revalidate"


def test_options_of_any_path_is_empty(door: Served) -> None:
    with door.connect() as sock:
        status, _, body = exchange(sock, "OPTIONS /whatever HTTP/1.1\nHost: x")
    assert (status, body) == (200, b"")


def post(path: str, body: bytes, content_type: str = "application/json") -> str:
    return f"POST {path} HTTP/1.1\nHost: x\nContent-Type: {content_type}\nContent-Length: {len(body)}"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        pytest.param(
            b"{}",
            "text/plain",
            400,
            "unsupported Content-Type header (text/plain): must be 'application/json'",
            id="wrong type",
        ),
        pytest.param(b"{}", "application/json; charset=utf-8", 201, "", id="parameters are fine"),
        pytest.param(b"{} {}", "application/json", 400, "unexpected content after JSON", id="two values"),
        pytest.param(b"{", "application/json", 400, "invalid JSON: ", id="half a value"),
        pytest.param(b"[]", "application/json", 400, "must be an object, not an array", id="an array"),
        pytest.param(b'{"Tty":NaN}', "application/json", 400, "invalid JSON: ", id="NaN"),
        pytest.param(b'{"Tty":"yes"}', "application/json", 400, "$.Tty", id="wrong type of a field"),
        pytest.param(
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            "application/json",
            400,
            "nested deeper than",
            id="deep",
        ),
        pytest.param(b"", "application/json", 400, "got EOF", id="empty"),
    ],
)
def test_bodies(door: Served, body: bytes, content_type: str, status: int, message: str) -> None:
    with door.connect() as sock:
        got, _, answer = exchange(sock, post("/containers/create", body, content_type), body)
    assert got == status
    assert message in json.loads(answer).get("message", "")


def test_body_above_the_limit_is_413(door: Served) -> None:
    with door.connect() as sock:
        sock.sendall(
            post("/containers/create", b"x" * (9 << 20)).replace("\n", "\r\n").encode() + b"\r\n\r\n"
        )
        try:
            for _ in range(9):
                sock.sendall(b" " * (1 << 20))
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before everything was read
        status, _, _ = read_response(sock)
    assert status == 413


def test_header_above_the_limit_is_refused(door: Served) -> None:
    with door.connect() as sock:
        status, _, _ = exchange(sock, "GET /_ping HTTP/1.1\nHost: x\nX: " + "y" * 100_000)
    assert status == 400


def test_length_and_chunks_together_are_refused(door: Served) -> None:
    """Request smuggling: two readers of such a request would disagree about its end (RFC 9112, 6.3)."""
    with door.connect() as sock:
        request = "POST /containers/create HTTP/1.1\nHost: x\nContent-Length: 5\nTransfer-Encoding: chunked"
        status, _, _ = exchange(sock, request, b"0\r\n\r\n")
    assert status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param("Host: 127.0.0.1:2375", 200, id="loopback"),
        pytest.param("Host: localhost", 200, id="localhost"),
        pytest.param("Host: [::1]:2375", 200, id="IPv6 loopback"),
        pytest.param("Host: evil.example", 403, id="rebound name"),
        pytest.param("Host: evil.example:2375", 403, id="rebound name with port"),
        pytest.param("Host: localhost\nOrigin: http://evil.example", 403, id="a web page"),
        pytest.param("Host: ", 403, id="no host"),
    ],
)
def test_tcp_serves_no_web_page(door: Served, headers: str, status: int) -> None:
    with door.connect(tcp=True) as sock:
        got, _, _ = exchange(sock, f"GET /_ping HTTP/1.1\n{headers}")
    assert got == status


def test_both_forms_of_filters_and_flags(door: Served) -> None:
    with door.connect() as sock:
        exchange(
            sock,
            GET.format(
                "/containers/json?all=1&limit=3&filters=%7B%22status%22%3A%7B%22running%22%3Atrue%7D%7D"
            ),
        )
        exchange(
            sock,
            GET.format("/v1.41/containers/json?all=False&filters=%7B%22status%22%3A%5B%22running%22%5D%7D"),
        )
        exchange(sock, GET.format("/containers/json?filters="))
    asked = [call[1] for call in door.engine.containers.calls]
    rest = {"size": False, "filters": {"status": ["running"]}, "zombies": False}
    assert asked[0] == {"all": True, "limit": 3, **rest}
    assert asked[1] == {"all": False, "limit": 0, **rest}
    assert asked[2]["filters"] == {}


def test_slow_calls_do_not_hold_up_quick_ones(door: Served) -> None:
    blocked = [door.connect() for _ in range(40)]
    for sock in blocked:
        sock.sendall(b"POST /containers/box/stop?t=99 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    with door.connect() as sock:
        status, _, _ = exchange(sock, GET.format("/containers/json"))
    assert status == 200
    door.engine.containers.release.set()
    assert [read_response(sock)[0] for sock in blocked] == [204] * 40
    for sock in blocked:
        sock.close()


def test_stop_of_the_program(door: Served) -> None:
    with door.connect() as sock:
        status = json.loads(exchange(sock, GET.format("/sampan/v1/system/status"))[2])
        stopped, _, _ = exchange(sock, "POST /sampan/v1/system/stop HTTP/1.1\nHost: x\nContent-Length: 0")
    assert (status["DataRoot"], status["RunRoot"]) == ("/d", "/r")
    assert (stopped, door.program.stopped) == (204, True)
