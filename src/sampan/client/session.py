"""One daemon and the API version spoken with it: calls, streams, hijacked connections. Lean (decision 0002).

The version is not asked for beforehand: the first request is made as API 1.51, and only a daemon that finds
this too new costs a second one (every answer of an Engine API carries `Api-Version`). Uploads do ask.
"""

from __future__ import annotations

import select

from sampan import fastjson
from sampan.client.address import Address, connect
from sampan.client.http import Connection, Disconnected, Response, encode_query
from sampan.errors import (
    Conflict,
    Forbidden,
    InvalidArgument,
    NotFound,
    NotModified,
    SampanError,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable, Sequence

    from sampan.client.http import Chunks
    from sampan.fastjson import JsonValue

API_VERSION = "1.51"
_OWN = "/sampan/"  # endpoints of sampan's own carry no version of Docker's
_ERRORS: dict[int, type[SampanError]] = {
    304: NotModified,
    400: InvalidArgument,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    501: Unsupported,
    503: Unavailable,
}
_UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "tcp"))
_FRAMED = "application/vnd.docker.multiplexed-stream"


@record
class Hijacked:
    """A connection that carries raw bytes both ways from here on; the owner closes `sock`."""

    sock: _socket.socket
    early: bytes  # output that came together with the head
    framed: bool  # stdout and stderr come in frames (docs/api.md, "Streams")
    headers: dict[str, str]


class Session:
    """Requests to one daemon. Connections are opened as needed; one idle one is kept for the next call.

    Not thread-safe: one session belongs to one thread. timeout_s limits how long the daemon may be silent
    in an exchange that is not `patient`.
    """

    def __init__(
        self,
        address: Address,
        *,
        connector: Callable[[Address], _socket.socket] = connect,
        timeout_s: float | None = None,
    ) -> None:
        self.address = address
        self.version = API_VERSION
        self._connector = connector
        self._timeout_s = timeout_s
        self._limit_s = timeout_s
        self._idle: Connection | None = None

    def call(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        *,
        body: JsonValue = None,
        headers: Sequence[tuple[str, str]] = (),
        patient: bool = False,
    ) -> JsonValue:
        """Make one request and return its JSON answer, None when the answer is empty.

        Raises:
            SampanError: the daemon refused; the class says what kind of refusal (`error_for`).
        """
        data = self._finish(self.open(method, path, query, body=body, headers=headers, patient=patient))
        return fastjson.loads(data) if data.strip() else None

    def open(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        *,
        body: JsonValue = None,
        chunks: Chunks | None = None,
        headers: Sequence[tuple[str, str]] = (),
        patient: bool = False,
    ) -> Response:
        """Make one request and return the answer with its body unread: a stream, or a wait.

        Raises:
            SampanError: the daemon refused.
            TimedOut: it was silent for too long, and the exchange is not patient.
        """
        pairs = list(query)
        if chunks is not None:
            self._ask_version()  # an upload cannot be sent twice
        data = None if body is None else fastjson.dumps(body).encode()
        sent = [*headers, ("Content-Type", "application/json")] if data is not None else list(headers)
        self._limit_s = None if patient else self._timeout_s
        response = self._exchange(method, self._target(path, pairs), sent, data, chunks)
        if response.status == 400 and chunks is None and self._lower_version(response.headers):
            self._finish(response)
            response = self._exchange(method, self._target(path, pairs), sent, data, chunks)
        if response.status >= 300:
            raise error_for(response.status, self._finish(response), response.reason)
        return response

    def hijack(
        self, method: str, path: str, query: Iterable[tuple[str, str]] = (), *, body: JsonValue = None
    ) -> Hijacked:
        """Make one request that turns its connection into a byte stream.

        Raises:
            SampanError: the daemon refused.
        """
        response = self.open(method, path, query, body=body, headers=_UPGRADE, patient=True)
        if response.status not in (101, 200):
            response.close()
            raise Unavailable(f"unable to upgrade to tcp, received {response.status}")
        sock, early = response.connection.take()
        framed = response.headers.get("content-type", "") == _FRAMED
        return Hijacked(sock=sock, early=early, framed=framed, headers=response.headers)

    def _finish(self, response: Response) -> bytes:
        """Return the rest of an answer's body, and keep or close its connection."""
        try:
            data = response.read_all()
        except BaseException:
            response.close()
            raise
        self.recycle(response)
        return data

    def recycle(self, response: Response) -> None:
        """Keep the connection of a finished answer for the next call, or close it."""
        if response.reusable and self._idle is None:
            self._idle = response.connection
        else:
            response.close()

    def close(self) -> None:
        """Close the idle connection; streams that were handed out stay open."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _target(self, path: str, query: list[tuple[str, str]]) -> str:
        prefix = "" if path.startswith(_OWN) else f"/v{self.version}"
        return prefix + path + encode_query(query)

    def _exchange(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        chunks: Chunks | None,
    ) -> Response:
        reused = self._take_idle()
        if reused is not None:
            try:
                return self._exchange_over(reused, method, target, headers, body, chunks)
            except Disconnected:
                # The daemon closed it just when we sent: only what changes nothing is safe to be sent again.
                if method not in ("GET", "HEAD") or chunks is not None:
                    raise
        fresh = Connection(self._connector(self.address), f"the daemon at {self.address.text}")
        return self._exchange_over(fresh, method, target, headers, body, chunks)

    def _exchange_over(
        self,
        connection: Connection,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        chunks: Chunks | None,
    ) -> Response:
        try:
            connection.limit(self._limit_s)
            try:
                connection.send(method, target, headers=headers, body=body, chunks=chunks)
            except Disconnected:
                # A refusal may have been sent before everything was read: it says more than the reset.
                return self._last_words(connection, method)
            return connection.receive(head_only=method == "HEAD")
        except BaseException:
            connection.close()
            raise

    @staticmethod
    def _last_words(connection: Connection, method: str) -> Response:
        response = connection.receive(head_only=method == "HEAD")
        response.headers["connection"] = "close"
        return response

    def _take_idle(self) -> Connection | None:
        idle, self._idle = self._idle, None
        if idle is not None and _is_readable(idle.fileno()):
            idle.close()  # readable without a request: the daemon has closed it
            return None
        return idle

    def _ask_version(self) -> None:
        response = self._exchange("HEAD", "/_ping", (), None, None)
        self._lower_version(response.headers)
        self.recycle(response)

    def _lower_version(self, headers: dict[str, str]) -> bool:
        """Take over the version of an older daemon; False when it is not older."""
        offered = headers.get("api-version", "")
        if not offered or _version_key(offered) >= _version_key(self.version):
            return False
        self.version = offered
        return True


def error_for(status: int, body: bytes, reason: str) -> SampanError:
    """Turn a refusal into the error class for its status; `{"message", "hint"}` gives the text."""
    message, hint = "", ""
    try:
        document = fastjson.loads(body)
    except InvalidArgument:
        message = body.decode(errors="replace").strip()
    else:
        if isinstance(document, dict):
            message, hint = str(document.get("message") or ""), str(document.get("hint") or "")
    return _ERRORS.get(status, SampanError)(message or f"the daemon answered {status} {reason}", hint=hint)


def _is_readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def _version_key(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
