"""Blobs: HEAD, GET with ranges, DELETE."""

from __future__ import annotations

from aiohttp import web

from sampan.errors import Conflict
from sampan.registry.server.errors import RegistryError
from sampan.registry.server.exchange import Exchange
from sampan.registry.server.names import parse_digest_part
from sampan.registry.server.passing import headers_of, pass_on
from sampan.registry.server.sending import FileAnswer, Span, parse_range
from sampan.store.repositories import HeldBlob


async def get(exchange: Exchange) -> web.StreamResponse:
    """GET and HEAD /v2/<name>/blobs/<digest>."""
    digest = parse_digest_part(exchange.target.unsafe_last)
    if exchange.upstream is not None:
        held = exchange.shelves.find_blob(exchange.repository, digest)
        if held is None:
            return await pass_on(exchange, digest)
        await exchange.run(exchange.upstream.touch, exchange.repository, held)
    blob = _find(exchange)
    request = exchange.request
    headers = headers_of(digest)
    if request.headers.get("If-None-Match", "").strip('"') == blob.digest:
        return web.Response(status=304, headers=headers)
    span, status = Span(0, blob.size_bytes), 200
    asked = request.headers.get("Range")
    if asked and request.headers.get("If-Range", "").strip('"') in ("", blob.digest):
        part = parse_range(asked, blob.size_bytes)
        if part is not None:
            span, status = part, 206
            last = span.start + span.length - 1
            headers["Content-Range"] = f"bytes {span.start}-{last}/{blob.size_bytes}"
    return open_answer(exchange, blob, span, status=status, headers=headers)


def open_answer(
    exchange: Exchange, blob: HeldBlob, span: Span, *, status: int, headers: dict[str, str]
) -> FileAnswer:
    """Answer with bytes of a blob; once it is open, a removal does not disturb."""
    try:
        file = open(exchange.shelves.path(blob.content), "rb", buffering=0)
    except FileNotFoundError as exc:
        raise RegistryError("BLOB_UNKNOWN", f"blob {blob.digest} is no longer here") from exc
    return FileAnswer(file, span, exchange.sender, status=status, headers=headers)


async def delete(exchange: Exchange) -> web.StreamResponse:
    """DELETE /v2/<name>/blobs/<digest>."""
    store = exchange.writable()
    blob = _find(exchange)
    try:
        await exchange.run(store.repositories.remove_blob, exchange.repository, blob)
    except Conflict as exc:
        raise RegistryError("DENIED", str(exc)) from exc
    return web.Response(status=202)


def _find(exchange: Exchange) -> HeldBlob:
    digest = parse_digest_part(exchange.target.unsafe_last)
    blob = exchange.shelves.find_blob(exchange.repository, digest)
    if blob is None:
        raise RegistryError("BLOB_UNKNOWN", f"blob {digest} is not known to {exchange.repository}")
    return blob
