"""Lists: repositories, tags, referrers. Source: OCI distribution-spec, spec.md, "Content Discovery"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from sampan.registry.server.errors import RegistryError
from sampan.registry.server.exchange import Exchange, page_size
from sampan.registry.server.names import parse_digest_part
from sampan.registry.server.upstream import Upstream
from sampan.spec.image import OCI_INDEX, Descriptor, Index, encode
from sampan.store.content_names import ContentName


async def catalog(exchange: Exchange) -> web.StreamResponse:
    """GET /v2/_catalog."""
    if exchange.upstream is not None:
        size, after = page_size(exchange), exchange.query("last")
        every = await exchange.ask(Upstream.catalog, after, size + 1 if size > 0 else -1)
        return _page(exchange, {}, "repositories", partial(_cut, every))
    return _page(
        exchange,
        {},
        "repositories",
        lambda after, limit: exchange.shelves.list(after=after, limit=limit),
    )


async def ping(_exchange: Exchange) -> web.StreamResponse:
    """GET /v1/_ping: there is a search, and who may log in shows a name and password with each request."""
    headers = {"X-Docker-Registry-Standalone": "true"}
    return web.Response(body=b"true", headers=headers, content_type="application/json")


async def search(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/search?q=…&n=…: repositories with the word in their name. Source: Docker Registry API v1."""
    word, size = exchange.query("q").lower(), page_size(exchange)
    names = [name for name in await exchange.run(exchange.shelves.list) if word in name]
    results = [
        {"name": name, "description": "", "star_count": 0, "is_official": False, "is_automated": False}
        for name in (names if size < 0 else names[:size])
    ]
    body = {"query": exchange.query("q"), "num_results": len(results), "results": results}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


async def tags(exchange: Exchange) -> web.StreamResponse:
    """GET /v2/<name>/tags/list."""
    repository = exchange.repository
    if exchange.upstream is not None:
        every = await exchange.ask(Upstream.tags, repository)
        return _page(exchange, {"name": repository}, "tags", partial(_cut, every))
    if not exchange.shelves.exists(repository):
        raise RegistryError("NAME_UNKNOWN", f"repository {repository} is not known to this registry")
    return _page(
        exchange,
        {"name": repository},
        "tags",
        lambda after, limit: exchange.shelves.tags(repository, after=after, limit=limit),
    )


def _cut(every: Sequence[str], after: str, limit: int) -> Sequence[str]:
    found = [one for one in every if one > after]
    return found if limit < 0 else found[:limit]


def _page(
    exchange: Exchange, head: dict[str, str], key: str, find: Callable[[str, int], Sequence[str]]
) -> web.Response:
    """Answer with one page; one item more than wanted tells whether there is another."""
    size = page_size(exchange)
    found = list(find(exchange.query("last"), size + 1 if size > 0 else -1)) if size else []
    headers = {}
    if 0 < size < len(found):
        found = found[:size]
        query = urlencode({"n": size, "last": found[-1]})
        headers["Link"] = f'<{quote(exchange.request.path)}?{query}>; rel="next"'
    body = msgspec.json.encode({**head, key: found})
    return web.Response(body=body, headers=headers, content_type="application/json")


async def referrers(exchange: Exchange) -> web.StreamResponse:
    """GET /v2/<name>/referrers/<digest>: an index, empty where nothing refers to it."""
    subject = parse_digest_part(exchange.target.unsafe_last)
    found = await _find_referrers(exchange, subject)
    wanted = exchange.request.query.getall("artifactType", [])
    headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
    index = Index(
        schemaVersion=2,
        mediaType=OCI_INDEX,
        manifests=[one for one in found if not wanted or one.artifactType in wanted],
    )
    return web.Response(body=encode(index), headers=headers, content_type=OCI_INDEX)


async def _find_referrers(exchange: Exchange, subject: ContentName) -> Sequence[Descriptor]:
    if exchange.upstream is not None:
        listed = await exchange.ask(Upstream.referrers, exchange.repository, subject)
        if listed is not None:
            return listed
    return [
        Descriptor(
            mediaType=one.media_type,
            digest=one.digest,
            size=one.size_bytes,
            artifactType=one.artifact_type,
            annotations=one.annotations,
        )
        for one in exchange.shelves.referrers(exchange.repository, subject)
    ]
