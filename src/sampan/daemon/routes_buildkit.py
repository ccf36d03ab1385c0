"""BuildKit's two doors, connections that become HTTP/2 (docs/buildkit.md); what serves them loads lazily."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from sampan.daemon import routes_build
from sampan.daemon.build_parameters import read_asked
from sampan.daemon.call import Call
from sampan.daemon.landing import Mailbox
from sampan.daemon.routing import Router
from sampan.daemon.takeover import Takeover
from sampan.daemon.upload import with_upload
from sampan.errors import InvalidArgument

if TYPE_CHECKING:
    from sampan.build.index import Index
    from sampan.daemon.buildkit.doors import Doors

_HEAD: Final = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    doors = _Lazy()
    router.add("POST", "/grpc", doors.control)
    router.add("POST", "/session", doors.session)
    router.add("POST", "/build", doors.build)
    router.add("POST", "/build/cancel", doors.cancel)


class _Lazy:
    """The doors, made with the first call: no start of sampand pays for their imports."""

    def __init__(self) -> None:
        self._doors: Doors | None = None

    def _get(self, call: Call) -> Doors:
        if self._doors is None:
            from sampan.daemon.buildkit.doors import Doors

            self._doors = Doors(call.engine)
        return self._doors

    async def control(self, call: Call) -> web.StreamResponse:
        """POST /grpc: we serve builds."""
        _check_upgrade(call)
        doors = self._get(call)
        takeover = Takeover(call.request)
        try:
            takeover.send_now(_HEAD)
            await doors.control(takeover.sock.dup())
        finally:
            takeover.close()
        return web.Response()

    async def build(self, call: Call) -> web.StreamResponse:
        """POST /build: by the classic builder, or, with version=2, by BuildKit over the client's session."""
        if call.text("version") != "2":
            return await routes_build.build(call)
        from sampan.daemon.buildkit.version2 import UPLOAD, make_solve

        prefix, sign, build_id = call.text("buildid").partition(":")
        if prefix == UPLOAD and sign:
            received: list[Index] = []
            await with_upload(call, lambda body: received.append(call.engine.builds.receive(body)))
            await self._get(call).upload(build_id, received[0])
            return web.Response()
        solve = make_solve(read_asked(call))
        mailbox: Mailbox[dict[str, object]] = Mailbox(call.post)
        doors = self._get(call)

        async def run() -> None:
            try:
                await doors.build(solve, mailbox.put, quiet=call.flag("q"))
            finally:
                mailbox.close()

        task = asyncio.create_task(run(), name="build of version 2")
        try:
            return await routes_build.answer(call, mailbox, task)
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def cancel(self, call: Call) -> web.StreamResponse:
        """POST /build/cancel: of a build with version=2; others end with their connection."""
        if not call.text("id"):
            raise InvalidArgument("build ID not provided")
        if self._doors is not None:
            await self._doors.cancel(call.text("id"))
        return web.Response(status=200)

    async def session(self, call: Call) -> web.StreamResponse:
        """POST /session: the client serves files, secrets and more to the builds that name its session."""
        _check_upgrade(call)
        headers = call.request.headers
        session_id = headers.get("X-Docker-Expose-Session-Uuid", "")
        if not session_id:
            raise InvalidArgument("no X-Docker-Expose-Session-Uuid in the request")
        doors = self._get(call)
        takeover = Takeover(call.request)
        try:
            takeover.send_now(_HEAD)
            await doors.session(
                takeover.sock.dup(),
                session_id,
                shared_key=headers.get("X-Docker-Expose-Session-Sharedkey", ""),
                methods=headers.getall("X-Docker-Expose-Session-Grpc-Method", []),
            )
        finally:
            takeover.close()
        return web.Response()


def _check_upgrade(call: Call) -> None:
    if call.request.headers.get("Upgrade", "").lower() != "h2c":
        raise InvalidArgument(
            f"{call.request.path} needs the headers Connection: Upgrade and Upgrade: h2c",
            hint="BuildKit's clients send them: docker buildx, docker compose",
        )
