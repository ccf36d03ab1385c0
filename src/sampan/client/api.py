"""The typed client: one daemon, its containers, images and facts about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from sampan import fastjson
from sampan.client.address import parse_address
from sampan.client.http import Response
from sampan.client.session import Session
from sampan.settings import default_host

if TYPE_CHECKING:
    from sampan.fastjson import JsonValue

    Document = dict[str, JsonValue]
else:  # the alias of JSON values exists for type checkers only
    Document = dict
Filters = Mapping[str, Sequence[str]]


class Client:
    """A daemon that speaks the Docker Engine API, sampand or another; by default the one `SAMPAN_HOST` names.

    Thread-safe: each call uses a connection of its own. Every method raises the error class for the daemon's
    refusal (`sampan.errors`), `ConnectionRefusedError` or `FileNotFoundError` when nobody listens.
    """

    def __init__(self, host: str = "") -> None:
        """Choose a daemon; nothing is connected yet.

        Raises:
            InvalidArgument: host is no address.
        """
        from sampan.client.containers import Containers
        from sampan.client.images import Images

        self._address = parse_address(host or default_host())
        self._version = ""
        self.containers = Containers(self)
        self.images = Images(self)

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

    def events(
        self, *, since: str = "", until: str = "", filters: Filters | None = None
    ) -> Iterator[Document]:
        """Yield events as they happen; closing the iterator ends the request.

        since and until are unix times with a fraction; without until the stream does not end by itself.
        """
        query = [(key, value) for key, value in (("since", since), ("until", until)) if value]
        return self.documents("GET", "/events", [*query, *encode_filters(filters)])

    def call(
        self, method: str, path: str, query: Iterable[tuple[str, str]] = (), *, body: JsonValue = None
    ) -> JsonValue:
        """Make any request of the API and return its JSON answer."""
        with self.session() as session:
            return session.call(method, path, query, body=body)

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
        response = self.open_stream(method, path, query, chunks=chunks, headers=headers)
        try:
            rest = b""
            while piece := response.read_some():
                *lines, rest = (rest + piece).split(b"\n")
                yield from (as_document(fastjson.loads(line)) for line in lines if line.strip())
            if rest.strip():
                yield as_document(fastjson.loads(rest))
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
    ) -> Response:
        """Make a request and return its answer unread; the caller closes it."""
        with self.session() as session:
            return session.open(method, path, query, chunks=chunks, headers=headers)

    def session(self) -> _OwnSession:
        """Return a session for the calling thread, as a context manager that closes it."""
        return _OwnSession(self)


class _OwnSession:
    """A session for one call; what it learns of the daemon's version is kept for the next."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._session = Session(client._address)
        if client._version:
            self._session.version = client._version

    def __enter__(self) -> Session:
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client._version = self._session.version
        self._session.close()


def encode_filters(filters: Filters | None) -> list[tuple[str, str]]:
    """Return the query for filters: name → alternatives."""
    if not filters:
        return []
    return [("filters", fastjson.dumps({key: list(values) for key, values in filters.items()}))]


def as_document(value: JsonValue) -> Document:
    """Return value, which the API promises to be an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_documents(value: JsonValue) -> list[Document]:
    """Return the objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
