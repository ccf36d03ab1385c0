"""HTTP/1.1 as far as the Engine API needs it: requests, streamed answers, connections that are taken over.

Lean (decision 0002): `http.client` alone costs 25 ms of start-up. One `Connection` carries one exchange at
a time; after a `Response` was read to its end the connection serves the next one.
Source: RFC 9112; for 101 answers docs/api.md, "Streams".
"""

from __future__ import annotations

import _socket
import posix

from sampan.errors import TimedOut, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Chunks = Iterable[bytes] | Callable[["ChunkSink"], None]

_MAX_HEAD = 64 * 1024  # bytes; a longer head is no daemon of ours
_CHUNK = 256 * 1024
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_PATH_SAFE = _UNRESERVED | frozenset(b"/:@")


class Disconnected(Unavailable):
    """The daemon closed the connection in the middle of an exchange."""


def quote(text: str, *, safe: frozenset[int] = _PATH_SAFE) -> str:
    """Percent-encode text for a path; `/`, `:` and `@` stay, as image names carry them (RFC 3986, 2.1)."""
    return "".join(
        chr(byte) if byte in safe else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape")
    )


def encode_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Return `?a=b&c=d`, or nothing when there are no pairs. Order and repetition are kept."""
    text = "&".join(f"{key}={quote(value, safe=_UNRESERVED)}" for key, value in pairs)
    return f"?{text}" if text else ""


class ChunkSink:
    """The body of a request in chunks: bytes, and files that the kernel sends (RFC 9112, 7.1)."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Send data as one chunk; none for no data."""
        if data:
            self._sock.sendall(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))

    def copy(self, fd: int, size: int, /) -> None:
        """Send size bytes of an open file as one chunk, with zeros for what it does not have any more."""
        self._sock.sendall(b"%x\r\n" % size)
        offset = 0
        while offset < size:
            sent = self._send_some(fd, offset, size - offset)
            if not sent:
                break
            offset += sent
        while offset < size:
            zeros = bytes(min(_CHUNK, size - offset))
            self._sock.sendall(zeros)
            offset += len(zeros)
        self._sock.sendall(b"\r\n")

    def _send_some(self, fd: int, offset: int, size: int) -> int:
        if self._sock.gettimeout() is None:
            return posix.sendfile(self._sock.fileno(), fd, offset, size)
        piece = posix.pread(fd, min(_CHUNK, size), offset)
        self._sock.sendall(piece)
        return len(piece)


class Connection:
    """One connection to a daemon; owns the socket until `take` gives it away."""

    def __init__(self, sock: _socket.socket, name: str) -> None:
        self._sock = sock
        self._name = name
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the socket; may be called again."""
        self._sock.close()

    def abort(self) -> None:
        """Make a read that another thread waits in return at once; the socket is still to be closed."""
        try:
            self._sock.shutdown(2)  # SHUT_RDWR
        except OSError:
            pass  # the other end was faster

    def fileno(self) -> int:
        """Return the socket's descriptor, for poll."""
        return self._sock.fileno()

    def limit(self, timeout_s: float | None) -> None:
        """Let no single read or write take longer; None: for ever. A read that does raises TimedOut."""
        self._sock.settimeout(timeout_s)

    def take(self) -> tuple[_socket.socket, bytes]:
        """Give the socket away, with the bytes that were read past the last head."""
        self._sock.settimeout(None)
        return self._sock, bytes(self._buffer)

    def send(
        self,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        chunks: Chunks | None = None,
    ) -> None:
        """Send one request. `chunks` is sent with chunked coding as it comes, `body` in one piece.

        In place of chunks a function may write the body, to the `ChunkSink` that it is given.

        Raises:
            Disconnected: the daemon closed the connection before it took everything; an answer that it
                sent before is still to be read.
            TimedOut: it took nothing for longer than the limit.
        """
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: sampan",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if chunks is not None:
            lines.append("Transfer-Encoding: chunked")
        elif body is not None:
            lines.append(f"Content-Length: {len(body)}")
        elif method not in ("GET", "HEAD", "DELETE"):
            lines.append("Content-Length: 0")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        try:
            self._sock.sendall(head + body if body else head)
            if chunks is not None:
                self._send_chunks(chunks)
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise Disconnected(f"{self._name} closed the connection while it was sent a request") from exc
        except TimeoutError as exc:
            raise self._silent() from exc

    def _send_chunks(self, chunks: Chunks) -> None:
        sink = ChunkSink(self._sock)
        if callable(chunks):
            chunks(sink)
        else:
            for chunk in chunks:
                sink.write(chunk)
        self._sock.sendall(b"0\r\n\r\n")

    def receive(self, *, head_only: bool = False) -> Response:
        """Read the head of the next answer; interim 1xx answers other than 101 are skipped.

        Raises:
            Disconnected: the connection ended first.
            Unavailable: what came is not HTTP.
        """
        while True:
            lines = self._read_head()
            version, _, rest = lines[0].partition(" ")
            code, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not code.isascii() or not code.isdigit():
                raise Unavailable(f"{self._name} does not speak HTTP: it sent {lines[0][:80]!r}")
            status = int(code)
            if status >= 200 or status == 101:
                return Response(self, status, reason, _parse_headers(lines[1:]), head_only=head_only)

    def fill(self) -> bool:
        """Read what the socket has, waiting for at least one byte; False at its end."""
        data = self._receive(_CHUNK)
        self._buffer += data
        return bool(data)

    def _receive(self, limit: int) -> bytes:
        try:
            return self._sock.recv(limit)
        except ConnectionResetError:
            return b""
        except TimeoutError as exc:
            raise self._silent() from exc

    def _silent(self) -> TimedOut:
        return TimedOut(f"{self._name} did not answer within {self._sock.gettimeout():g} s")

    def take_some(self, limit: int) -> bytes:
        """Return 1 to limit bytes, or nothing at the end of the connection."""
        if not self._buffer and limit >= _CHUNK:  # the middle of a long piece: not by way of the buffer
            return self._receive(_CHUNK)
        if not self._buffer and not self.fill():
            return b""
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data

    def take_line(self) -> bytes:
        """Return the next line without its line end.

        Raises:
            Disconnected: the connection ended inside the line.
        """
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > _MAX_HEAD:
                raise Unavailable(f"{self._name} sent a line longer than {_MAX_HEAD} bytes")
            if not self.fill():
                raise self.lost()
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def lost(self) -> Disconnected:
        """Return the error for a connection that ended too early."""
        # A connection that is more than a socket (client/tls.py) may know why.
        reason = getattr(self._sock, "failure", "")
        if reason:
            return Disconnected(f"{self._name} closed the connection: {reason}")
        return Disconnected(f"{self._name} closed the connection", hint="see the daemon's log for the reason")

    def _read_head(self) -> list[str]:
        lines: list[str] = []
        size = 0
        while line := self.take_line():
            lines.append(line.decode("latin-1"))
            size += len(line)
            if size > _MAX_HEAD:
                raise Unavailable(f"{self._name} sent a head longer than {_MAX_HEAD} bytes")
        return lines or self._read_head()  # RFC 9112, 2.2: an empty line before the head is skipped


def _parse_headers(lines: list[str]) -> dict[str, str]:
    """Return the fields by lower-case name; of repeated ones the last."""
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


class Response:
    """The head of an answer, and its body piece by piece.

    Framing follows RFC 9112, 6.3: no body, chunked, a length, or up to the end of the connection.
    """

    def __init__(
        self,
        connection: Connection,
        status: int,
        reason: str,
        headers: dict[str, str],
        *,
        head_only: bool = False,
    ) -> None:
        self.connection = connection
        self.status = status
        self.reason = reason
        self.headers = headers
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._left = 0  # bytes of the current chunk, or of the body; -1: up to the end of the connection
        self.finished = head_only or status in (101, 204, 304)
        if not self._chunked and not self.finished:
            length = headers.get("content-length", "")
            self._left = int(length) if length.isascii() and length.isdigit() else -1
            self.finished = self._left == 0

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another exchange now."""
        ends = self._left < 0 or self.headers.get("connection", "").lower() == "close"
        return self.finished and not ends and self.status != 101

    def read_some(self) -> bytes:
        """Return the next piece of the body as soon as there is one, and nothing at its end.

        Raises:
            Disconnected: the connection ended before the body did.
        """
        if self.finished:
            return b""
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        data = self.connection.take_some(self._left if self._left > 0 else _CHUNK)
        if self._left > 0:
            if not data:
                raise self.connection.lost()
            self._left -= len(data)
            if self._left == 0:
                self._end_piece()
        elif not data:
            self.finished = True
        return data

    def read_all(self) -> bytes:
        """Return the rest of the body."""
        pieces = []
        while piece := self.read_some():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Give up the rest of the answer, and the connection with it."""
        self.finished = True
        self._left = -1
        self.connection.close()

    def _next_chunk(self) -> bool:
        size = self.connection.take_line().partition(b";")[0].strip()
        if not size or not _HEX.issuperset(size) or len(size) > 16:
            raise Unavailable(f"the daemon sent a chunk of size {size[:20]!r}")
        self._left = int(size, 16)
        if self._left:
            return True
        while self.connection.take_line():
            pass  # trailers
        self.finished = True
        return False

    def _end_piece(self) -> None:
        if self._chunked:
            self.connection.take_line()
        else:
            self.finished = True
