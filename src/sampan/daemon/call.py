"""One API call: what a handler sees of a request, and how it answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from aiohttp import web

from sampan.daemon.failures import JSON_TYPE, PayloadTooLarge
from sampan.daemon.hangups import HangupWatch
from sampan.daemon.landing import Post
from sampan.daemon.parameters import parse_filters, parse_flag, parse_time_ns, parse_whole
from sampan.daemon.scoped_requests import checked
from sampan.daemon.scopes import FULL, Scope
from sampan.daemon.workers import Workers
from sampan.errors import InvalidArgument
from sampan.spec import gojson

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

T = TypeVar("T", bound=msgspec.Struct)
Document = msgspec.Struct | list[msgspec.Struct] | dict[str, object] | list[object]

MAX_JSON_BYTES: Final = 8 * 1024 * 1024  # the largest sensible body is a create with long environments
BODY_TIMEOUT_S: Final = 60.0

_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Call:
    """A request on its way through a handler. `name`: the variable part of the path; `version`: the API's."""

    request: web.BaseRequest
    engine: Engine
    workers: Workers
    post: Post
    hangups: HangupWatch
    name: str
    version: tuple[int, int]
    scope: Scope = FULL

    def text(self, key: str, default: str = "") -> str:
        """Return a query parameter as it came."""
        return self.request.query.get(key, default)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a query parameter as a boolean."""
        value = self.request.query.get(key)
        return default if value is None else parse_flag(value)

    def whole(self, key: str) -> int | None:
        """Return a query parameter as a number, None when it is absent or empty."""
        value = self.request.query.get(key, "")
        return parse_whole(value, name=key) if value else None

    def time_ns(self, key: str) -> int:
        """Return a query parameter as nanoseconds since 1970, 0 when it is absent."""
        return self.time_ns_or_none(key) or 0

    def time_ns_or_none(self, key: str) -> int | None:
        """Return a query parameter as nanoseconds since 1970, None when it is absent or empty."""
        value = self.request.query.get(key, "")
        return parse_time_ns(value, name=key) if value else None

    def filters(self) -> dict[str, list[str]]:
        """Return the filters by name."""
        return parse_filters(self.request.query.get("filters", ""))

    async def raw_body(self) -> bytes:
        """Return the whole body.

        Raises:
            PayloadTooLarge: it exceeds MAX_JSON_BYTES.
            InvalidArgument: it did not come in time.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while piece := await self.request.content.readany():
                    size += len(piece)
                    if size > MAX_JSON_BYTES:
                        raise PayloadTooLarge(f"the request body exceeds {MAX_JSON_BYTES} bytes")
                    pieces.append(piece)
        except TimeoutError:
            raise InvalidArgument(f"the request body did not come within {BODY_TIMEOUT_S:.0f} s") from None
        return b"".join(pieces)

    async def body(self, kind: type[T]) -> T:
        """Return the JSON body as a kind.

        Raises:
            InvalidArgument: there is none, it is not declared as JSON, or a field is wrong.
            Forbidden: it asks for more than the listener's role allows.
        """
        raw = await self.raw_body()
        if not raw.strip():
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        self._check_json()
        return checked(self.scope, gojson.decode(raw, kind))

    async def body_or_default(self, kind: type[T]) -> T:
        """Return the JSON body as a kind; an empty one, or null, is the kind's default."""
        raw = await self.raw_body()
        if raw.strip() in (b"", b"null"):
            return kind()
        self._check_json()
        return checked(self.scope, gojson.decode(raw, kind))

    def _check_json(self) -> None:
        header = self.request.headers.get("Content-Type", "")
        if header.partition(";")[0].strip().lower() != JSON_TYPE:
            raise InvalidArgument(f"unsupported Content-Type header ({header}): must be '{JSON_TYPE}'")


def reply(document: object, *, status: int = 200) -> web.Response:
    """Return a JSON response; structs, lists and dictionaries of them."""
    body = _encoder.encode(document) + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE})


def no_content() -> web.Response:
    """Return 204."""
    return web.Response(status=204)


def encode_line(document: object) -> bytes:
    """Return one object of a JSON stream."""
    return _encoder.encode(document) + b"\r\n"
