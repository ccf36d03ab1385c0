"""A daemon that plays a script: for each connection the answers it sends, and what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sampan.client.address import parse_address
from sampan.client.session import Session


class Scripted:
    """Listens on a unix socket; connection n is answered with `scripts[n]`, one answer for each request.

    delay_s: how long each answer takes.
    """

    def __init__(self, folder: Path, *scripts: Sequence[bytes], delay_s: float = 0) -> None:
        self._delay_s = delay_s
        self.path = folder / "api.sock"
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(10)
        self._thread = threading.Thread(target=self._serve, args=(scripts,), daemon=True)
        self._thread.start()

    def session(self) -> Session:
        return Session(parse_address(f"unix://{self.path}"))

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive(), "the client did not make every connection of the script"

    def _serve(self, scripts: Sequence[Sequence[bytes]]) -> None:
        for answers in scripts:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(10)
                for answer in answers:
                    self.requests.append(_read_request(connection))
                    time.sleep(self._delay_s)
                    with contextlib.suppress(BrokenPipeError):  # a client may have given up
                        connection.sendall(answer)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"the client closed after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    chunked = b"transfer-encoding: chunked" in head.lower()
    while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
        piece = connection.recv(65536)
        assert piece, f"the client closed after {data!r}"
        body += piece
    return head + b"\r\n\r\n" + body


def answer(body: bytes = b"", *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    """Return one answer with a length."""
    lines = [f"HTTP/1.1 {status}", "Api-Version: 1.51", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
