"""A small real registry that behaves as it is told: a behaviour sees each request first."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.system.registry_kit import MadeImage

Behaviour = Callable[["Answerer"], bool]  # True: it has answered


class Answerer(BaseHTTPRequestHandler):
    """One connection. The helpers below are what behaviours are made of."""

    protocol_version = "HTTP/1.1"
    server: Hostile

    def do_GET(self) -> None:
        self.path = self.path.partition("?ns=")[0]  # a mirror is told for whom it stands
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
        with suppress(BrokenPipeError, ConnectionResetError):
            if not self.server.behaviour(self):
                self.answer_well()

    do_HEAD = do_POST = do_GET

    @property
    def is_manifest(self) -> bool:
        return "/manifests/" in self.path

    @property
    def is_layer(self) -> bool:
        return self.path.rpartition("/")[2] in self.server.layers

    def answer_well(self) -> None:
        image = self.server.image
        name = self.path.rpartition("/")[2]
        if self.path == "/v2/":
            self.send(200, b"{}")
        elif self.is_manifest:
            self.send(200, image.manifest, Content_Type=image.media_type, Docker_Content_Digest=image.digest)
        elif name in image.blobs:
            start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
            data = image.blobs[name]
            if start:
                rest = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.send(206, data[start:], Content_Range=rest)
            else:
                self.send(200, data)
        else:
            self.send(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')

    def send(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """Answer; length: what the header says, if not the truth."""
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True

    def reset(self) -> None:
        """End the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.rfile = self.wfile = _Nothing()  # type: ignore[assignment]  # nothing is written any more

    def drip(self, data: bytes, *, pause_s: float) -> None:
        """Send byte by byte until the client or the test has had enough."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for position in range(len(data)):
            self.wfile.write(data[position : position + 1])
            if self.server.ending.wait(pause_s):
                break
        self.close_connection = True

    def pour(self) -> None:
        """Send a body that does not end."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        block = b"x" * 65536
        while not self.server.ending.is_set():
            self.wfile.write(b"10000\r\n" + block + b"\r\n")
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Nothing:
    closed = False

    def write(self, _data: bytes) -> int:
        return 0

    def readline(self, _limit: int = 0) -> bytes:
        return b""

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Hostile(ThreadingHTTPServer):
    """The server; seen: method, path and Authorization of every request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, image: MadeImage, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Answerer)
        self.image = image
        self.behaviour = behaviour
        self.layers = set(image.blobs) - {image.config}
        self.seen: list[tuple[str, str, str]] = []
        self.ending = threading.Event()
        self.notes: dict[str, int] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    @property
    def domain(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def count(self, what: str) -> int:
        """Count how often something has happened, this time included."""
        self.notes[what] = self.notes.get(what, 0) + 1
        return self.notes[what]


@contextmanager
def serve_hostile(image: MadeImage, behaviour: Behaviour) -> Iterator[Hostile]:
    server = Hostile(image, behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
