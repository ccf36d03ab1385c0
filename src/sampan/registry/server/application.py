"""The registry as an aiohttp application: from a request to its endpoint, and from an error to an answer."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from sampan import log
from sampan.errors import SampanError
from sampan.registry.server import blobs, listings, manifests
from sampan.registry.server.access import TOKEN_S, Access, Grant, parse_scopes
from sampan.registry.server.errors import RegistryError, answer
from sampan.registry.server.exchange import Exchange
from sampan.registry.server.names import Target, parse_path
from sampan.registry.server.sending import Sender
from sampan.registry.server.shelves import Shelves
from sampan.registry.server.uploads import Uploading
from sampan.registry.server.upstream import Upstream
from sampan.store.store import Store

Endpoint = Callable[[Exchange], Awaitable[web.StreamResponse]]

_ACTIONS: Final = {"GET": "pull", "HEAD": "pull", "POST": "push", "PATCH": "push", "PUT": "push"}
_VERSION: Final = ("Docker-Distribution-API-Version", "registry/2.0")


class Registry:
    """Answers requests from shelves; store None: nothing is written."""

    def __init__(
        self, shelves: Shelves, store: Store | None, access: Access, upstream: Upstream | None = None
    ) -> None:
        self._shelves = shelves
        self._store = store
        self._access = access
        self._upstream = upstream
        self._sender = Sender()
        uploading = Uploading()
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("GET", "base"): _base,
            ("GET", "ping"): listings.ping,
            ("GET", "search"): listings.search,
            ("GET", "catalog"): listings.catalog,
            ("GET", "tags"): listings.tags,
            ("GET", "referrers"): listings.referrers,
            ("GET", "manifest"): manifests.get,
            ("PUT", "manifest"): manifests.put,
            ("DELETE", "manifest"): manifests.delete,
            ("GET", "blob"): blobs.get,
            ("DELETE", "blob"): blobs.delete,
            ("POST", "upload start"): uploading.start,
            ("GET", "upload"): uploading.status,
            ("PATCH", "upload"): uploading.append,
            ("PUT", "upload"): uploading.finish,
            ("DELETE", "upload"): uploading.cancel,
        }

    def application(self) -> web.Application:
        """Return what an aiohttp runner serves."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; the one place where an error becomes a status."""
        try:
            response = await self._dispatch(request)
        except RegistryError as exc:
            response = answer(exc)
        except SampanError as exc:
            response = answer(RegistryError("UNKNOWN", str(exc)))
        except OSError as exc:
            if isinstance(exc, ConnectionError):
                raise
            log.error("request failed", method=request.method, path=request.path, reason=exc)
            response = answer(RegistryError("UNKNOWN", f"the registry cannot do it: {exc.strerror}"))
        response.headers.setdefault(*_VERSION)
        log.debug("request", method=request.method, path=request.path, status=response.status)
        return response

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token" and self._access.gives_tokens:
            return await self._token(request)
        target = parse_path(request.path)
        if target is None:
            return web.Response(status=200 if request.path == "/" else 404)
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._endpoints.get((method, target.kind))
        if endpoint is None:
            raise RegistryError("UNSUPPORTED", f"{request.method} is not supported here")
        grant = await self._authorize(request, target)
        if self._upstream is not None:
            self._upstream.check_namespace(request.query.get("ns", ""))
        return await endpoint(
            Exchange(
                request=request,
                target=target,
                grant=grant,
                shelves=self._shelves,
                store=self._store,
                sender=self._sender,
                upstream=self._upstream,
            )
        )

    async def _authorize(self, request: web.Request, target: Target) -> Grant:
        """Return what the client may do, once this is part of it.

        Raises:
            RegistryError: it may not; with a challenge where a login may help.
        """
        action = "push" if target.kind == "upload" else _ACTIONS.get(request.method, "delete")
        try:
            grant = await self._grant(request)
        except RegistryError as exc:
            exc.headers.update(self._challenge(request, target, action))
            raise
        is_base = target.kind in ("base", "ping")
        if (
            (grant.is_known or not self._access.wants_login)
            if is_base
            else grant.may(action, target.repository)
        ):
            return grant
        if self._access.wants_login:
            headers = self._challenge(request, target, action)
            raise RegistryError("UNAUTHORIZED", "authentication required", headers=headers)
        raise RegistryError("DENIED", f"requested access to the resource is denied: {action}")

    async def _grant(self, request: web.Request) -> Grant:
        if not self._access.wants_login:
            return self._access.grant("")
        return await asyncio.to_thread(self._access.grant, request.headers.get("Authorization", ""))

    def _challenge(self, request: web.Request, target: Target, action: str) -> dict[str, str]:
        """Say how to log in. Source: RFC 6750, 3; distribution, "Token Authentication Specification"."""
        if not self._access.gives_tokens:
            return {"WWW-Authenticate": 'Basic realm="sampan registry"'}
        text = f'Bearer realm="{request.scheme}://{request.host}/token",service="{request.host}"'
        if target.repository:
            actions = "pull,push" if action == "push" else action
            text += f',scope="repository:{target.repository}:{actions}"'
        elif target.kind in ("catalog", "search"):
            text += ',scope="registry:catalog:*"'
        return {"WWW-Authenticate": text}

    async def _token(self, request: web.Request) -> web.StreamResponse:
        """GET or POST /token: sign what the user, or nobody, may do of what is asked for."""
        form = await request.post() if request.method == "POST" else request.query
        try:
            user = await self._user_of(request, form)
        except RegistryError as exc:
            exc.headers.update({"WWW-Authenticate": 'Basic realm="sampan registry"'})
            raise
        scopes = parse_scopes([str(text) for text in form.getall("scope", [])])
        token = self._access.make_token(user, scopes)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        body = {"token": token, "access_token": token, "expires_in": TOKEN_S, "issued_at": issued}
        offline = form.get("offline_token") == "true" or form.get("access_type") == "offline"
        if user and offline:
            body["refresh_token"] = self._access.make_identity(user)
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def _user_of(self, request: web.Request, form: Mapping[str, object]) -> str:
        """Return who asks for a token: by Basic, or by a form with a password or an identity token."""
        authorization = request.headers.get("Authorization", "")
        if request.method == "POST":
            kind = form.get("grant_type")
            if kind == "refresh_token":
                return self._access.read_identity(str(form.get("refresh_token", "")))
            if kind != "password":
                text = "only grant_type=password and refresh_token are supported"
                raise RegistryError("UNSUPPORTED", text, status=400)
            pair = f"{form.get('username', '')}:{form.get('password', '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return (await asyncio.to_thread(self._access.grant, authorization)).user


async def _base(_exchange: Exchange) -> web.StreamResponse:
    return web.Response(body=b"{}", content_type="application/json")
