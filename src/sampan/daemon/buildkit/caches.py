"""Build caches of a client's build: what it exports to, what it imports, and its directories (type=local).

A directory of the client's is a content store of containerd's API that its session serves, under the id
`local:PATH`. The client looks the digest up in `index.json` before a build, and writes it there afterwards,
by the descriptor that it is told as `cache.manifest`.

Source: BuildKit, client/solve.go, cache/remotecache/local, session/content; containerd, api/services/content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Final

import msgspec
from grpclib.client import Stream, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from sampan.build.cache_format import MOST_BYTES
from sampan.build.cache_options import CacheFromOption, CacheToOption, read_cache_from, read_cache_to
from sampan.build.cache_places import CacheFrom, CacheTo
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.pieces import Pieces, next_data
from sampan.daemon.buildkit.sessions import Session
from sampan.errors import InvalidArgument, NotFound, SampanError, Unsupported
from sampan.ids import Digest, parse_digest
from sampan.spec.image import Descriptor
from sampan.store.archive.readable import Readable
from sampan.store.digests import digest_of

_SERVICE: Final = "/containerd.services.content.v1.Content"
_INFO, _READ, _WRITE = f"{_SERVICE}/Info", f"{_SERVICE}/Read", f"{_SERVICE}/Write"
_STORE: Final = "buildkit-attachable-store-id"
_PIECE: Final = 256 * 1024
_CALL_S: Final = 30.0

ReadPiece = Callable[[int], bytes]


class Caches:
    """The caches of one build. told: what the client is told of those that were written."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.told: dict[str, str] = {}

    def imports(self, options: Mapping[str, str], request: m.ControlSolveRequest) -> list[CacheFrom]:
        """Read the options `cache-imports` and `cache-from` (of older clients), and the request's own.

        Raises:
            InvalidArgument: they are malformed. Unsupported: a kind that is not there.
        """
        wanted = [(one.type, dict(one.attrs)) for one in request.cache.imports]
        wanted += _entries(options.get("cache-imports", ""))
        wanted += [("registry", {"ref": ref}) for ref in options.get("cache-from", "").split(",") if ref]
        found: list[CacheFrom] = []
        for kind, attributes in wanted:
            option = read_cache_from(kind, attributes, strict=False)
            if all(option != one.option for one in found):
                found.append(CacheFrom(option, source=self._source(option)))
        return found

    def _source(self, option: CacheFromOption) -> Opener | None:
        return Opener(self._session, option.place, option.digest) if option.kind == "local" else None

    def exports(self, request: m.ControlSolveRequest) -> list[CacheTo]:
        """Read what a request exports to; else as `imports`."""
        found = []
        for one in request.cache.exports:
            option = read_cache_to(one.type, dict(one.attrs), strict=False)
            found.append(CacheTo(option, target=self._target(option)))
        return found

    def _target(self, option: CacheToOption) -> Opener | None:
        if option.kind != "local":
            return None
        return Opener(self._session, option.place, told=self.told)


class Opener:
    """Opens a directory of the client's when it is needed."""

    def __init__(
        self, session: Session, path: str, digest: str = "", told: dict[str, str] | None = None
    ) -> None:
        self._made = (session, path, digest, told)

    def __call__(self) -> ClientFolder:
        return ClientFolder(*self._made)


def _entries(text: str) -> list[tuple[str, dict[str, str]]]:
    """Read the JSON of `cache-imports`: `[{"Type":…,"Attrs":{…}}]`."""
    try:
        found = json.loads(text) if text else []
        return [
            (str(fields["type"]), {str(key): str(value) for key, value in fields.get("attrs", {}).items()})
            for fields in ({str(key).lower(): value for key, value in one.items()} for one in found or ())
        ]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as exc:
        raise InvalidArgument(f"cache-imports are malformed: {exc}") from exc


class ClientFolder:
    """A `build.cache_places.CacheSource` and `CacheTarget`; used from worker threads."""

    def __init__(self, session: Session, path: str, digest: str, told: dict[str, str] | None) -> None:
        if not session.has(_READ):
            raise Unsupported("the client's session serves no directory for a cache")
        self._session = session
        self._digest = digest
        self._told = {} if told is None else told
        self._metadata = [(_STORE, f"local:{path}")]

    def top(self) -> bytes:
        """See `CacheSource`."""
        if not self._digest:
            raise NotFound("the client names no manifest of the cache")
        return self._read_all(parse_digest(self._digest), MOST_BYTES)

    def read(self, descriptor: Descriptor) -> bytes:
        """See `CacheSource`."""
        return self._read_all(parse_digest(descriptor.digest), min(descriptor.size, MOST_BYTES))

    def _read_all(self, digest: Digest, most: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        with self._open(digest) as blob:
            while size <= most and (piece := blob.read(_PIECE)):
                pieces.append(piece)
                size += len(piece)
        raw = b"".join(pieces)
        if digest_of(raw) != digest:
            raise InvalidArgument(f"blob {digest} of the cache is damaged")
        return raw

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Readable]:
        """See `CacheSource`."""
        with self._open(parse_digest(descriptor.digest)) as blob:
            yield blob

    @contextmanager
    def _open(self, digest: Digest) -> Iterator[_Blob]:
        blob = _Blob(self._session)
        try:
            with _told():
                self._session.wait(blob.open(digest, self._metadata))
            yield blob
        finally:
            self._session.wait(blob.close())

    def put_blob(self, digest: Digest, path: str, *, size_bytes: int) -> None:
        """See `CacheTarget`."""
        with open(path, "rb", buffering=0) as file, _told():
            self._session.wait(self._put(digest, file.read, size_bytes))

    def put_top(self, raw: bytes, media_type: str) -> None:
        """See `CacheTarget`."""
        digest = digest_of(raw)
        pieces = [b"", raw]
        with _told():
            self._session.wait(self._put(digest, lambda _size: pieces.pop() if pieces else b"", len(raw)))
        descriptor = Descriptor(mediaType=media_type, digest=digest, size=len(raw))
        self._told["cache.manifest"] = msgspec.json.encode(descriptor).decode()

    async def _put(self, digest: Digest, read: ReadPiece, size: int) -> None:
        if await self._has(digest):
            return
        method = StreamStreamMethod(
            self._session.channel, _WRITE, m.WriteContentRequest, m.WriteContentResponse
        )
        reference = f"sampan-{digest}-{os.urandom(6).hex()}"
        async with method.open(metadata=self._metadata) as stream:
            done = 0
            while piece := read(_PIECE):
                asked = m.WriteContentRequest(
                    action=m.WriteContentRequest.WRITE, ref=reference, total=size, offset=done, data=piece
                )
                await _ask(stream, asked)
                done += len(piece)
            asked = m.WriteContentRequest(
                action=m.WriteContentRequest.COMMIT, ref=reference, offset=done, total=size, expected=digest
            )
            # A commit ends the stream from there: were it open from here, that would be a reset.
            await _ask(stream, asked, is_last=True)

    async def _has(self, digest: Digest) -> bool:
        method = UnaryUnaryMethod(self._session.channel, _INFO, m.ContentInfoRequest, m.ContentInfoResponse)
        try:
            await method(m.ContentInfoRequest(digest=digest), metadata=self._metadata, timeout=_CALL_S)
        except GRPCError as exc:
            if exc.status is Status.NOT_FOUND:
                return False
            raise
        return True


class _Blob:
    """A blob that the client sends; a `Readable` of a thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stack = AsyncExitStack()
        self._first = b""
        self._pieces = Pieces(self._take)

    async def open(self, digest: Digest, metadata: list[tuple[str, str]]) -> None:
        """Ask for it."""
        method = UnaryStreamMethod(self._session.channel, _READ, m.ReadContentRequest, m.ReadContentResponse)
        self._stream = await self._stack.enter_async_context(method.open(metadata=metadata))
        await self._stream.send_message(m.ReadContentRequest(digest=digest), end=True)
        self._first = await next_data(self._stream.recv_message)  # one that is not there is told here

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end."""
        return self._pieces.read(size)

    def _take(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        with _told():
            return self._session.wait(next_data(self._stream.recv_message))

    async def close(self) -> None:
        """End it; fine at any time."""
        with suppress(GRPCError, StreamTerminatedError, H2Error):
            await self._stack.aclose()


async def _ask(
    stream: Stream[m.WriteContentRequest, m.WriteContentResponse],
    request: m.WriteContentRequest,
    *,
    is_last: bool = False,
) -> m.WriteContentResponse:
    await stream.send_message(request, end=is_last)
    answer = await stream.recv_message()
    if answer is None:
        await stream.recv_trailing_metadata()  # raises what is wrong
        raise SampanError("the client ended the cache's blob too early")
    return answer


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the client refuses into an error of ours."""
    try:
        yield
    except GRPCError as exc:
        kind = NotFound if exc.status is Status.NOT_FOUND else SampanError
        raise kind(f"the client: {exc.message or exc.status.name}") from exc
    except (StreamTerminatedError, H2Error) as exc:
        raise SampanError(f"the client has gone: {exc}") from exc
