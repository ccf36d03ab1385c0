"""The typed client: one daemon, its containers, images and facts about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from sampan import fastjson
from sampan.client.address import Address, connect, parse_address
from sampan.client.containers import Containers
from sampan.client.filters import Filters, encode_filters
from sampan.client.http import Response
from sampan.client.images import Images
from sampan.client.networks import Networks
from sampan.client.session import Session
from sampan.client.values import Document, Event, Pruned, as_document
from sampan.client.volumes import Volumes
from sampan.settings import default_host

if TYPE_CHECKING:
    from _socket import socket

    from sampan.client.tls import TlsFiles
    from sampan.fastjson import JsonValue


class Client:
    """A daemon that speaks the Docker Engine API: sampand, dockerd or another.

    Thread-safe: each call uses a connection of its own. Every method raises the error class for the daemon's
    refusal (`sampan.errors`), `ConnectionRefusedError` or `FileNotFoundError` when nobody listens, TimedOut
    when the daemon is silent for timeout_s (None: it may be); what waits by its nature has no such limit.
    """

    def __init__(
        self, host: str = "", *, timeout_s: float | None = 60.0, tls: TlsFiles | None = None
    ) -> None:
        """Choose a daemon; nothing is connected yet.

        Without host it is the one of `SAMPAN_HOST`, else of `DOCKER_HOST`, else this user's own sampand.
        Without tls a TCP address uses it as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` say.

        Raises:
            InvalidArgument: host is no address, or a file of tls is missing.
        """
        self._address = parse_address(host or _chosen_host())
        self._timeout_s = timeout_s
        self._connector: Callable[[Address], socket] = connect
        if self._address.kind == "tcp":
            from sampan.client.tls import files_from_environment, tls_connector

            files = tls or files_from_environment()
            self._connector = tls_connector(files) if files is not None else connect
        self._version = ""
        self.containers = Containers(self)
        self.images = Images(self)
        self.networks = Networks(self)
        self.volumes = Volumes(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept open between calls; this is for symmetry with other clients."""

    def ping(self) -> str:
        """Return the highest API version the daemon speaks."""
        with self.session() as session:
            response = session.open("GET", "/_ping")
            response.read_all()
            session.recycle(response)
            return response.headers.get("api-version", "")

    def version(self) -> Document:
        """Return the answer of `/version`."""
        return as_document(self.call("GET", "/version"))

    def info(self) -> Document:
        """Return the answer of `/info`."""
        return as_document(self.call("GET", "/info"))

    def disk_usage(self) -> Document:
        """Return the answer of `/system/df`."""
        return as_document(self.call("GET", "/system/df", patient=True))

    def prune(self, *, images: bool = False, volumes: bool = False, filters: Filters | None = None) -> Pruned:
        """Remove what nobody uses: stopped containers, images without a name; images, volumes: all unused."""
        done = [self.containers.prune(filters=filters), self.images.prune(all=images, filters=filters)]
        if volumes:
            done.append(self.volumes.prune(filters=filters))
        return Pruned(
            deleted=tuple(name for one in done for name in one.deleted),
            reclaimed_bytes=sum(one.reclaimed_bytes for one in done),
        )

    def events(self, *, since: str = "", until: str = "", filters: Filters | None = None) -> Iterator[Event]:
        """Yield events as they happen; closing the iterator ends the request.

        since and until are unix times with a fraction; without until the stream does not end by itself.
        """
        query = [(key, value) for key, value in (("since", since), ("until", until)) if value]
        for document in self.documents("GET", "/events", [*query, *encode_filters(filters)]):
            yield Event.read(document)

    def call(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        *,
        body: JsonValue = None,
        patient: bool = False,
    ) -> JsonValue:
        """Make any request of the API and return its JSON answer. patient: it may take any time."""
        with self.session() as session:
            return session.call(method, path, query, body=body, patient=patient)

    def documents(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        *,
        chunks: Iterable[bytes] | None = None,
    ) -> Iterator[Document]:
        """Make a request that answers with a stream of JSON objects, and yield them as they come."""
        headers = [("Content-Type", "application/x-tar")] if chunks is not None else []
        response = self.open_stream(method, path, query, chunks=chunks, headers=headers, patient=True)
        lines = JsonLines()
        try:
            while piece := response.read_some():
                yield from lines.feed(piece)
            yield from lines.feed(b"\n")
        finally:
            response.close()

    def open_stream(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        *,
        chunks: Iterable[bytes] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        patient: bool = False,
    ) -> Response:
        """Make a request and return its answer unread; the caller closes it."""
        with self.session() as session:
            return session.open(method, path, query, chunks=chunks, headers=headers, patient=patient)

    def session(self) -> _OwnSession:
        """Return a session for the calling thread, as a context manager that closes it."""
        return _OwnSession(self)


class _OwnSession:
    """A session for one call; what it learns of the daemon's version is kept for the next."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._session = Session(client._address, connector=client._connector, timeout_s=client._timeout_s)
        if client._version:
            self._session.version = client._version

    def __enter__(self) -> Session:
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client._version = self._session.version
        self._session.close()


class JsonLines:
    """Takes the pieces of a stream of JSON objects apart, one object a line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[Document]:
        """Return the objects that are complete now."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [as_document(fastjson.loads(line)) for line in lines if line.strip()]


def _chosen_host() -> str:
    return os.environ.get("SAMPAN_HOST") or os.environ.get("DOCKER_HOST") or default_host()
