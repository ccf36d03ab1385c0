"""The two connections as one thing: the side loop, the sessions and the builds that share them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sampan.daemon.buildkit.connections import serve
from sampan.daemon.buildkit.jobs import Jobs
from sampan.daemon.buildkit.services import Services
from sampan.daemon.buildkit.sessions import Session, Sessions
from sampan.daemon.buildkit.side_loop import SideLoop

if TYPE_CHECKING:
    from sampan.engine.engine import Engine


class Doors:
    """Serves BuildKit's clients; belongs to sampand's loop, works in its own."""

    def __init__(self, engine: Engine) -> None:
        # Each call that a client breaks off would be a trace on our standard error.
        logging.getLogger("grpclib").setLevel(logging.CRITICAL)
        self._engine = engine
        self._loop = SideLoop("buildkit")
        self._shared: tuple[Sessions, Jobs] | None = None

    def _get(self) -> tuple[Sessions, Jobs]:
        """Return what all connections share; called in the side loop only."""
        if self._shared is None:
            self._shared = (Sessions(), Jobs())
        return self._shared

    async def control(self, sock: socket.socket) -> None:
        """Serve calls on a connection until its client has gone."""

        async def work() -> None:
            sessions, jobs = self._get()
            await serve(sock, [Services(self._engine, sessions, jobs)])

        await self._loop.run(work())

    async def session(
        self, sock: socket.socket, session_id: str, *, shared_key: str, methods: Sequence[str]
    ) -> None:
        """Keep a client's session until it has gone."""

        async def work() -> None:
            sessions, _ = self._get()
            await sessions.serve(session_id, Session(sock, shared_key=shared_key, methods=methods))

        await self._loop.run(work())
