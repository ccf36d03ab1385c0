"""The two connections as one thing: the side loop, the sessions and the builds that share them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from grpclib.exceptions import GRPCError

from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.connections import serve
from sampan.daemon.buildkit.jobs import Jobs
from sampan.daemon.buildkit.services import Services
from sampan.daemon.buildkit.sessions import Session, Sessions
from sampan.daemon.buildkit.side_loop import SideLoop
from sampan.daemon.buildkit.uploads import Uploads
from sampan.daemon.buildkit.version2 import trace
from sampan.errors import InvalidArgument

if TYPE_CHECKING:
    from sampan.build.index import Index
    from sampan.engine.engine import Engine


class Doors:
    """Serves BuildKit's clients; belongs to sampand's loop, works in its own."""

    def __init__(self, engine: Engine) -> None:
        # Each call that a client breaks off would be a trace on our standard error.
        logging.getLogger("grpclib").setLevel(logging.CRITICAL)
        self._engine = engine
        self._loop = SideLoop("buildkit")
        self._shared: tuple[Sessions, Jobs] | None = None
        self._uploads = Uploads()
        self._builds: dict[str, asyncio.Task[m.ControlSolveResponse]] = {}

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

    async def build(
        self, request: m.ControlSolveRequest, tell: Callable[[dict[str, object]], None], *, quiet: bool
    ) -> None:
        """Do a build that did not come over a connection of ours (`version2`); tell: takes what is answered.

        Raises:
            SampanError: as `Services.solve`.
        """

        async def work() -> None:
            sessions, jobs = self._get()
            services = Services(self._engine, sessions, jobs, uploads=self._uploads)
            solving = asyncio.create_task(services.solve(request), name="a build of version 2")
            self._builds[request.ref] = solving
            try:
                job = await jobs.find(request.ref)
                async for told in job.progress.follow():
                    tell(trace(told))
                await asyncio.wait((solving,))
            finally:
                del self._builds[request.ref]
                solving.cancel()
                await asyncio.wait((solving,))
            if solving.cancelled():
                raise InvalidArgument("the build was cancelled")
            try:
                answer = solving.result()
            except GRPCError as exc:
                raise InvalidArgument(exc.message or exc.status.name) from exc
            image_id = answer.exporter_response.get("containerimage.digest", "")
            if image_id:
                tell(
                    {"stream": f"{image_id}\n"} if quiet else {"id": "moby.image.id", "aux": {"ID": image_id}}
                )

        await self._loop.run(work())

    async def cancel(self, build_id: str) -> None:
        """Stop a build of version 2, if there is one."""

        async def work() -> None:
            solving = self._builds.get(build_id)
            if solving is not None:
                solving.cancel()

        await self._loop.run(work())

    async def upload(self, build_id: str, context: Index) -> None:
        """Keep a context that was sent for a build of version 2, which closes it; until it ends.

        Raises:
            Conflict: there is one already.
        """

        async def work() -> None:
            await self._uploads.lend(build_id, context)

        await self._loop.run(work())

    async def session(
        self, sock: socket.socket, session_id: str, *, shared_key: str, methods: Sequence[str]
    ) -> None:
        """Keep a client's session until it has gone."""

        async def work() -> None:
            sessions, _ = self._get()
            await sessions.serve(session_id, Session(sock, shared_key=shared_key, methods=methods))

        await self._loop.run(work())
