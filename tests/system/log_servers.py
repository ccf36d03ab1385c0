"""Small log servers for tests: syslog over every transport, a journal socket; each keeps what came."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


class Server:
    """Receives in a thread until closed; `text` is everything so far, `packets` each datagram."""

    def __init__(
        self, listener: socket.socket, *, stream: bool, context: ssl.SSLContext | None = None
    ) -> None:
        self.packets: list[bytes] = []
        self._listener = listener
        self._stream = stream
        self._context = context
        self._connections: list[socket.socket] = []
        if stream:
            listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def text(self) -> bytes:
        return b"".join(self.packets)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                if not self._stream:
                    self.packets.append(receive_datagram(self._listener))
                    continue
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            while data := connection.recv(1 << 16):
                self.packets.append(data)

    def close(self) -> None:
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join(5)


def receive_datagram(sock: socket.socket) -> bytes:
    """Return one datagram, or what the memfd that came instead holds."""
    data, ancillary, _, _ = sock.recvmsg(1 << 18, socket.CMSG_LEN(4))
    for level, kind, raw in ancillary:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        (fd,) = array.array("i", raw[:4])
        with open(fd, "rb") as file:
            file.seek(0)
            return file.read()
    return data


@contextlib.contextmanager
def serve(kind: str, path: Path | None = None, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Listen as `unix`, `unixgram` (at path), `udp`, `tcp` or `tcp+tls` (at a free port of loopback)."""
    stream = kind in ("unix", "tcp", "tcp+tls")
    family = socket.AF_UNIX if path is not None else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(str(path) if path is not None else ("127.0.0.1", 0))
    server = Server(listener, stream=stream, context=context)
    try:
        yield server
    finally:
        server.close()
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Make `cert.pem` and `key.pem` for localhost in folder; return a server's context."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
