"""Requests and answers on the wire."""

from __future__ import annotations

import _socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.http import Connection, Disconnected, Response, encode_query, quote
from sampan.errors import Unavailable


def received(data: bytes, *, head_only: bool = False) -> Response:
    """Return the answer that a peer has sent before it closed."""
    ours, theirs = _socket.socketpair()
    sender = threading.Thread(target=lambda: (theirs.sendall(data), theirs.close()))  # may be more than fits
    sender.start()
    connection = Connection(ours, "the daemon")
    try:
        return connection.receive(head_only=head_only)
    except BaseException:
        connection.close()
        raise
    finally:
        sender.join()


def read(data: bytes) -> bytes:
    """Return the body of an answer, and close its connection."""
    response = received(data)
    try:
        return response.read_all()
    finally:
        response.close()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "body", "reusable"),
    [
        pytest.param(HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello", True, id="length"),
        pytest.param(HEAD + b"Content-Length: 0\r\n\r\n", b"", True, id="length 0"),
        pytest.param(HEAD + b"\r\nhello", b"hello", False, id="up to the end"),
        pytest.param(
            HEAD
            + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n",
            b"hello world",
            True,
            id="chunks",
        ),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", True, id="no content"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\nx", b"x", True, id="interim"
        ),
        pytest.param(
            HEAD + b"Content-Length: 1\r\nConnection: close\r\n\r\nx", b"x", False, id="asked to close"
        ),
        pytest.param(b"\r\n" + HEAD + b"content-length:2\r\n\r\nab", b"ab", True, id="empty line first"),
    ],
)
def test_bodies(data: bytes, body: bytes, reusable: bool) -> None:
    response = received(data)
    assert response.read_all() == body
    assert response.reusable is reusable
    response.close()


def test_an_answer_to_head_has_no_body() -> None:
    response = received(HEAD + b"Content-Length: 5\r\n\r\n", head_only=True)
    assert response.read_all() == b""
    response.close()


def test_an_upgrade_gives_the_socket_and_what_came_early() -> None:
    response = received(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nearly")
    sock, early = response.connection.take()
    assert (response.status, early) == (101, b"early")
    sock.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        HEAD,
        HEAD + b"Content-Length: 5\r\n\r\nhel",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
    ],
)
def test_an_answer_that_breaks_off(data: bytes) -> None:
    with pytest.raises(Disconnected):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"X: " + b"a" * 70000 + b"\r\n\r\n",
        HEAD + b"X: 1\r\n" * 20000 + b"\r\n",
    ],
)
def test_what_is_no_http(data: bytes) -> None:
    with pytest.raises(Unavailable):
        read(data)


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 7))
def test_chunks_survive_any_cut_of_the_stream(pieces: list[bytes], size: int) -> None:
    stream = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    size = max(size, len(stream) // 100)  # nobody reads meanwhile: a few hundred sends fill a socket's queue
    ours, theirs = _socket.socketpair()
    connection = Connection(ours, "the daemon")
    theirs.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    response, at, seen = connection.receive(), 0, b""
    while not response.finished:
        theirs.sendall(stream[at : at + size])
        at += size
        if at >= len(stream):
            theirs.close()
            seen += response.read_all()
            break
    assert seen == b"".join(pieces)
    connection.close()


@given(st.text())
def test_quoted_text_comes_back(text: str) -> None:
    from urllib.parse import parse_qs, unquote

    assert unquote(quote(text.encode("utf-8", "ignore").decode())) == text.encode("utf-8", "ignore").decode()
    pairs = [("a", "1"), ("b", "x y&z=ü")]
    assert parse_qs(encode_query(pairs)[1:]) == {"a": ["1"], "b": ["x y&z=ü"]}


def test_names_keep_what_image_names_have() -> None:
    assert quote("docker.io/library/a:1@sha256:0 é") == "docker.io/library/a:1@sha256:0%20%C3%A9"
    assert encode_query([]) == ""
