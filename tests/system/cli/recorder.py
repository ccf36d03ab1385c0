"""A daemon that makes no container, but notes what it was asked to make: for comparing clients."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from pathlib import Path
from typing import Any

ID = "a" * 64


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        self.server.asked.append((self.path.partition("/containers")[2], body))
        self._answer(201, json.dumps({"Id": ID, "Warnings": []}).encode())

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Api-Version", "1.50"),
            ("Ostype", "linux"),
            ("Content-Type", "application/json"),
        ):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class Recorder(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers every `create`; `asked` holds path and body of each."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.host = f"unix://{folder}/recorder.sock"
        super().__init__(str(folder / "recorder.sock"), _Handler)
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
