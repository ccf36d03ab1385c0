"""Blobs that this cache has not: given on while they come from upstream."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from aiohttp import web

from sampan import log
from sampan.errors import SampanError
from sampan.registry.server.exchange import Exchange
from sampan.registry.server.sending import Span, parse_range
from sampan.registry.server.upstream import Upstream
from sampan.store.archive.readable import Readable
from sampan.store.content_names import ContentName

_PIECE: Final = 256 * 1024


def headers_of(digest: ContentName) -> dict[str, str]:
    """Return what goes with every answer about a blob."""
    return {
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
    }


async def pass_on(exchange: Exchange, digest: ContentName) -> web.StreamResponse:
    """Answer HEAD and GET, whole or from some byte on."""
    size = await exchange.ask(Upstream.blob_size, exchange.repository, digest)
    request, headers = exchange.request, headers_of(digest)
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(size)})
    asked = request.headers.get("Range")
    part = parse_range(asked, size) if asked else None
    span = part or Span(0, size)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    if part:
        response.headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{size}"
    response.content_length = span.length
    upstream = exchange.upstream
    assert upstream is not None  # the caller has seen that
    with ExitStack() as held:
        opened = upstream.blob(exchange.repository, digest, size_bytes=size)
        reader = await exchange.ask(lambda _: held.enter_context(opened))
        await response.prepare(request)
        try:
            await _copy(exchange, reader, span, response)
        except SampanError as exc:
            log.warning("upstream broke off", upstream=upstream.domain, blob=digest, reason=exc)
            raise ConnectionResetError(
                "upstream broke off"
            ) from exc  # the client sees that bytes are missing
        await exchange.ask(lambda _: held.close())
    await response.write_eof()
    return response


async def _copy(exchange: Exchange, reader: Readable, span: Span, response: web.StreamResponse) -> None:
    position, end = 0, span.start + span.length
    while True:
        piece = await exchange.ask(lambda _: reader.read(_PIECE))
        if not piece:
            return
        first, last = max(span.start - position, 0), min(end - position, len(piece))
        if first < last:
            await response.write(piece[first:last])
        position += len(piece)
