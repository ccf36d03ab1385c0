"""Blobs on their way in: POST, PATCH, PUT, GET, DELETE. Source: OCI distribution-spec, spec.md, "Push"."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import web

from sampan.errors import InvalidArgument, NotFound
from sampan.registry.server.errors import RegistryError
from sampan.registry.server.exchange import Exchange
from sampan.registry.server.names import check_name, parse_digest_part
from sampan.store.content_names import ContentName
from sampan.store.repositories import HeldBlob
from sampan.store.store import Store
from sampan.store.uploads import Upload

_IDLE_S: Final = 60.0  # a client that sends nothing for so long is taken for dead; its upload stays
_RANGE: Final = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/.*)?", re.ASCII)


class Uploading:
    """The endpoints; one writer at a time for each upload."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self, exchange: Exchange) -> web.StreamResponse:
        """POST /v2/<name>/blobs/uploads/: mount, take the whole blob, or begin."""
        store = exchange.writable()
        if exchange.query("mount"):
            mounted = await _mount(exchange, store)
            if mounted is not None:
                return _created(exchange, mounted)
        name = parse_digest_part(exchange.query("digest")) if exchange.query("digest") else None
        upload = await exchange.run(store.uploads.begin, exchange.repository)
        if name is None:
            return _progress(upload, status=202)
        async with self._lock(upload):
            await _receive(exchange, upload)
            return await _finish(exchange, store, upload, name)

    async def status(self, exchange: Exchange) -> web.StreamResponse:
        """GET /v2/<name>/blobs/uploads/<id>."""
        return _progress(await _get(exchange), status=204)

    async def append(self, exchange: Exchange) -> web.StreamResponse:
        """PATCH /v2/<name>/blobs/uploads/<id>: the next piece, or (without a range) all that comes."""
        upload = await _get(exchange)
        async with self._lock(upload):
            _check_offset(exchange.request, upload)
            await _receive(exchange, upload)
        return _progress(upload, status=202)

    async def finish(self, exchange: Exchange) -> web.StreamResponse:
        """PUT /v2/<name>/blobs/uploads/<id>?digest=…: the last piece, if any; then it is a blob."""
        store = exchange.writable()
        name = parse_digest_part(exchange.query("digest"))
        upload = await _get(exchange)
        async with self._lock(upload):
            _check_offset(exchange.request, upload)
            await _receive(exchange, upload)
            return await _finish(exchange, store, upload, name)

    async def cancel(self, exchange: Exchange) -> web.StreamResponse:
        """DELETE /v2/<name>/blobs/uploads/<id>."""
        upload = await _get(exchange)
        async with self._lock(upload):
            await exchange.run(exchange.writable().uploads.remove, upload)
        return web.Response(status=204)

    def _lock(self, upload: Upload) -> asyncio.Lock:
        return self._locks.setdefault(upload.id, asyncio.Lock())


async def _get(exchange: Exchange) -> Upload:
    uploads = exchange.writable().uploads
    try:
        return await exchange.run(uploads.get, exchange.repository, exchange.target.unsafe_last)
    except NotFound as exc:
        raise RegistryError("BLOB_UPLOAD_UNKNOWN", str(exc)) from exc


def _check_offset(request: web.Request, upload: Upload) -> None:
    """Compare `Content-Range`, if there is one, with what has come and with the length of the body.

    Raises:
        RegistryError: the piece does not go on where the last one ended; where that is, the headers say.
    """
    text = request.headers.get("Content-Range")
    if text is None:
        return
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise RegistryError(
            "BLOB_UPLOAD_INVALID", f"Content-Range {text[:80]!r} is not start-end", status=400
        )
    start, end = int(match[1]), int(match[2])
    if start != upload.size_bytes:
        raise RegistryError(
            "BLOB_UPLOAD_INVALID",
            f"piece begins at {start}, {upload.size_bytes} bytes have come",
            headers=_headers(upload),
        )
    length = request.content_length
    if length is not None and length != end - start + 1:
        raise RegistryError(
            "SIZE_INVALID", f"Content-Range says {end - start + 1} bytes, Content-Length {length}"
        )


async def _receive(exchange: Exchange, upload: Upload) -> None:
    """Append the body. A piece is written and hashed in a thread while the next one comes.

    Raises:
        RegistryError: the client fell silent, or the disk is full; what has come stays.
    """
    content = exchange.request.content
    if content.at_eof():
        return
    fd = await exchange.run(upload.open)
    try:
        while True:
            async with asyncio.timeout(_IDLE_S):
                piece = await content.readany()
            if not piece:
                return
            await exchange.run(upload.append, fd, piece)
    except TimeoutError as exc:
        raise RegistryError("BLOB_UPLOAD_INVALID", "no data came for a minute", status=408) from exc
    finally:
        os.close(fd)


async def _finish(exchange: Exchange, store: Store, upload: Upload, name: ContentName) -> web.StreamResponse:
    try:
        blob = await exchange.run(_keep, store, upload, name)
    except InvalidArgument as exc:
        await exchange.run(store.uploads.remove, upload)  # no further piece can make it right
        raise RegistryError("DIGEST_INVALID", str(exc)) from exc
    return _created(exchange, blob)


def _keep(store: Store, upload: Upload, name: ContentName) -> HeldBlob:
    blob = store.repositories.add_blob(upload.repository, upload.stage(name), name=name)
    store.uploads.remove(upload)
    return blob


async def _mount(exchange: Exchange, store: Store) -> HeldBlob | None:
    """Record a blob of another repository for this one; None: it must be uploaded."""
    digest = parse_digest_part(exchange.query("mount"))
    source = exchange.query("from")
    repositories = store.repositories
    if source:
        if not exchange.grant.may("pull", check_name(source)):
            return None
        blob = repositories.find_blob(source, digest)
    elif exchange.grant.everywhere:
        blob = repositories.find_blob_anywhere(digest)
    else:
        blob = None
    if blob is not None:
        await exchange.run(repositories.mount_blob, exchange.repository, blob)
    return blob


def _created(exchange: Exchange, blob: HeldBlob) -> web.Response:
    location = f"/v2/{exchange.repository}/blobs/{blob.digest}"
    headers = {"Location": location, "Docker-Content-Digest": blob.digest}
    return web.Response(status=201, headers=headers)


def _progress(upload: Upload, *, status: int) -> web.Response:
    return web.Response(status=status, headers=_headers(upload))


def _headers(upload: Upload) -> dict[str, str]:
    """Tell how much has come: the last byte's number, 0 also for none, as clients of docker expect."""
    return {
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.size_bytes - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    }
