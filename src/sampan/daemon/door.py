"""The HTTP side of sampand: gate, router, error translation. Routes are added by the `routes_*` modules."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Final

from aiohttp import web

from sampan import log
from sampan.daemon import (
    routes_build,
    routes_buildkit,
    routes_containers,
    routes_events,
    routes_execs,
    routes_files,
    routes_image_tools,
    routes_images,
    routes_networks,
    routes_registry,
    routes_sampan,
    routes_sampan_build,
    routes_stats,
    routes_stop,
    routes_streams,
    routes_system,
    routes_unsupported,
    routes_volumes,
)
from sampan.daemon.call import Call
from sampan.daemon.connection import Connection
from sampan.daemon.failures import error_response, status_of
from sampan.daemon.gate import check_host, check_origin, check_version, decode_path
from sampan.daemon.hangups import HangupWatch
from sampan.daemon.headers import add_common
from sampan.daemon.landing import Post
from sampan.daemon.ownership import narrow
from sampan.daemon.routes_sampan import Control
from sampan.daemon.routing import Router, split_version
from sampan.daemon.scopes import FULL, Scope
from sampan.daemon.weblog import make_logger
from sampan.daemon.workers import Workers
from sampan.errors import NotFound, SampanError

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # curl waits for it before a large body
_MAX_LINE: Final = 16 * 1024  # bytes; `images/get?names=` carries many names
_MAX_FIELD: Final = 32 * 1024  # bytes; registry credentials travel in a header
_IDLE_S: Final = 600.0  # a connection without a request, or with half a head, is closed after this


class Door:
    """Answers requests by calling one engine. Belongs to the running event loop."""

    def __init__(self, engine: Engine, control: Control) -> None:
        self._engine = engine
        self._workers = Workers()
        self._post = Post()
        self._hangups = HangupWatch(asyncio.get_running_loop())
        self._router = build_router(control)
        self._logger = make_logger()
        self._server = web.Server(self._handle, handler_cancellation=True)

    def connection(self, scope: Scope = FULL) -> Connection:
        """Return the protocol for a new connection on a listener with this scope."""
        connection = Connection(
            self._server,
            loop=asyncio.get_running_loop(),
            logger=self._logger,
            access_log=None,  # type: ignore[arg-type]  # turns it off; the annotation forgets it
            keepalive_timeout=_IDLE_S,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_FIELD,
            auto_decompress=False,  # a body is what it is: no compressed one grows without limit here
        )
        connection.scope = scope
        return connection

    async def close(self, *, grace_s: float) -> None:
        """End every connection; handlers get grace_s to finish."""
        await self._server.shutdown(grace_s)
        self._workers.close()
        self._hangups.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every error becomes a response here."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.answering = False
        try:
            response = await self._dispatch(request, connection.scope)
        except Exception as exc:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone") from exc
            response = self._fail(request, exc)
            if connection.answering:
                request.transport.abort()
                raise ConnectionResetError("the answer broke off") from exc
        if connection.diverted:
            response.force_close()
        else:
            connection.resume_http()
        return response

    async def _dispatch(self, request: web.BaseRequest, scope: Scope) -> web.StreamResponse:
        if scope.is_network:
            check_origin(request.headers)
        if scope.is_local_network:
            check_host(request.headers)
        version_text, path = split_version(decode_path(request.raw_path))
        version = check_version(version_text)
        if request.method == "OPTIONS":
            return add_common(web.Response())
        found = self._router.find(request.method, path)
        if found is None:
            raise NotFound("page not found")
        right = scope.right(request.method, found.pattern)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # as aiohttp's own handler: the answer proper has not begun
        call = Call(
            request, self._engine, self._workers, self._post, self._hangups, found.name, version, scope
        )
        await narrow(call, right)
        return add_common(await found.handler(call))

    @staticmethod
    def _fail(request: web.BaseRequest, error: Exception) -> web.StreamResponse:
        if status_of(error) == 500:
            log.error(
                "request failed",
                method=request.method,
                path=request.path,
                error=error,
                trace="" if isinstance(error, SampanError) else "".join(traceback.format_exception(error)),
            )
        return add_common(error_response(error))


def build_router(control: Control) -> Router:
    """Return the table of every route."""
    router = Router()
    for module in (
        routes_unsupported,
        routes_system,
        routes_containers,
        routes_streams,
        routes_events,
        routes_stats,
        routes_stop,
        routes_execs,
        routes_files,
        routes_images,
        routes_image_tools,
        routes_registry,
        routes_build,
        routes_buildkit,
        routes_networks,
        routes_volumes,
    ):
        module.add_routes(router)
    routes_sampan.add_routes(router, control)
    routes_sampan_build.add_routes(router)
    return router
