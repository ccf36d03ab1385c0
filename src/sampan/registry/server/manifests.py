"""Manifests and tags: HEAD, GET, PUT, DELETE."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from sampan import log
from sampan.errors import NotFound
from sampan.registry.server.documents import Document, parse_document
from sampan.registry.server.errors import RegistryError
from sampan.registry.server.exchange import Exchange
from sampan.registry.server.names import check_tag, is_digest, parse_digest_part
from sampan.registry.server.upstream import Upstream
from sampan.spec.image import MAX_DOCUMENT_BYTES
from sampan.store.content_names import ContentName, is_name_of
from sampan.store.digests import digest_of
from sampan.store.repositories import HeldManifest
from sampan.store.store import Store

_BODY_S: Final = 60.0


async def get(exchange: Exchange) -> web.StreamResponse:
    """GET and HEAD /v2/<name>/manifests/<tag or digest>: the type it was pushed as, whatever is accepted."""
    if exchange.upstream is not None:
        await _bring(exchange)
    manifest = _find(exchange)
    headers = {
        "Docker-Content-Digest": manifest.digest,
        "ETag": f'"{manifest.digest}"',
        "Content-Type": manifest.media_type,
    }
    if exchange.request.headers.get("If-None-Match", "").strip('"') == manifest.digest:
        return web.Response(status=304, headers=headers)
    if exchange.request.method == "HEAD":
        headers["Content-Length"] = str(manifest.size_bytes)
        return web.Response(headers=headers)
    return web.Response(
        body=await exchange.run(_read, exchange.shelves.path(manifest.content)), headers=headers
    )


async def _bring(exchange: Exchange) -> None:
    last = exchange.target.unsafe_last
    name = parse_digest_part(last) if is_digest(last) else check_tag(last)
    await exchange.ask(Upstream.bring_manifest, exchange.repository, name)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


async def put(exchange: Exchange) -> web.StreamResponse:
    """PUT /v2/<name>/manifests/<tag or digest>."""
    store = exchange.writable()
    raw = await _body(exchange.request)
    said = "Content-Type" in exchange.request.headers
    document = parse_document(raw, content_type=exchange.request.content_type if said else "")
    name, tags = _names(exchange, raw)
    try:
        await exchange.run(_keep, store, exchange.repository, raw, document, name, tags)
    except NotFound as exc:
        raise RegistryError("MANIFEST_BLOB_UNKNOWN", str(exc)) from exc
    log.info("manifest pushed", repository=exchange.repository, digest=name, tags=",".join(tags))
    headers = {"Location": f"/v2/{exchange.repository}/manifests/{name}", "Docker-Content-Digest": name}
    if document.subject:
        headers["OCI-Subject"] = document.subject
    if exchange.request.query.getall("tag", []):
        headers["OCI-Tag"] = ", ".join(tags)
    return web.Response(status=201, headers=headers)


async def _body(request: web.Request) -> bytes:
    """Read a manifest, and no more than one may have."""
    if (request.content_length or 0) > MAX_DOCUMENT_BYTES:
        raise RegistryError("SIZE_INVALID", f"manifest of more than {MAX_DOCUMENT_BYTES} bytes", status=413)
    pieces: list[bytes] = []
    size = 0
    async with asyncio.timeout(_BODY_S):
        while size <= MAX_DOCUMENT_BYTES and (piece := await request.content.readany()):
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)


def _names(exchange: Exchange, raw: bytes) -> tuple[ContentName, list[str]]:
    """Return the digest and the tags a manifest is pushed under."""
    last = exchange.target.unsafe_last
    tags = [check_tag(tag) for tag in exchange.request.query.getall("tag", [])]
    if not is_digest(last):
        name = exchange.query("digest")
        own = ContentName(digest_of(raw))
        return (_checked(name, raw) if name else own), [check_tag(last), *tags]
    return _checked(last, raw), tags


def _checked(text: str, raw: bytes) -> ContentName:
    name = parse_digest_part(text)
    if not is_name_of(name, raw):
        raise RegistryError("DIGEST_INVALID", f"the manifest's digest is not {name}")
    return name


def _keep(
    store: Store, repository: str, raw: bytes, document: Document, name: ContentName, tags: list[str]
) -> None:
    held = HeldManifest(
        digest=name,
        content=digest_of(raw),
        media_type=document.media_type,
        size_bytes=len(raw),
        subject=document.subject,
        artifact_type=document.artifact_type,
        annotations=document.annotations,
    )
    store.repositories.add_manifest(repository, held, raw, names=document.names, tags=tags)


async def delete(exchange: Exchange) -> web.StreamResponse:
    """DELETE /v2/<name>/manifests/<tag or digest>: a tag alone, or a manifest with its tags."""
    store = exchange.writable()
    last = exchange.target.unsafe_last
    if is_digest(last):
        await exchange.run(store.repositories.remove_manifest, exchange.repository, _find(exchange))
    elif not await exchange.run(store.repositories.remove_tag, exchange.repository, check_tag(last)):
        raise _unknown(exchange)
    log.info("manifest deleted", repository=exchange.repository, reference=last)
    return web.Response(status=202)


def _find(exchange: Exchange) -> HeldManifest:
    last = exchange.target.unsafe_last
    if is_digest(last):
        found = exchange.shelves.find_manifest(exchange.repository, parse_digest_part(last))
    else:
        found = exchange.shelves.find_tagged(exchange.repository, check_tag(last))
    if found is None:
        raise _unknown(exchange)
    return found


def _unknown(exchange: Exchange) -> RegistryError:
    if not exchange.shelves.exists(exchange.repository):
        return RegistryError(
            "NAME_UNKNOWN", f"repository {exchange.repository} is not known to this registry"
        )
    return RegistryError("MANIFEST_UNKNOWN", f"{exchange.repository} has no {exchange.target.unsafe_last}")
