"""BuildKit's two doors, connections that become HTTP/2 (docs/buildkit.md); what serves them loads lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from sampan.daemon.call import Call
from sampan.daemon.routing import Router
from sampan.daemon.takeover import Takeover
from sampan.errors import InvalidArgument

if TYPE_CHECKING:
    from sampan.daemon.buildkit.doors import Doors

_HEAD: Final = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    doors = _Lazy()
    router.add("POST", "/grpc", doors.control)
    router.add("POST", "/session", doors.session)


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
