"""Sessions: connections over which a client serves its files and secrets to the builds that it asks for.

A session is named by a header of `POST /session`; a build names it in `Control/Solve`, maybe too early.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from grpclib.client import Stream, StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from sampan import log
from sampan.daemon.buildkit import filesync
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.connections import SessionChannel
from sampan.daemon.buildkit.pieces import next_data
from sampan.errors import NotFound

T = TypeVar("T")

_ARRIVAL_S: Final = 5.0  # BuildKit gives a session as long
_CALL_S: Final = 30.0
_SECRET: Final = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105 -- a method's name
_CHECK_AGENT: Final = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD_AGENT: Final = "/moby.sshforward.v1.SSH/ForwardAgent"
_PULL: Final = "/moby.upload.v1.Upload/Pull"
_PIECE: Final = 16 * 1024
_CREDENTIALS: Final = "/moby.filesync.v1.Auth/Credentials"


class Session:
    """One client's session. shared_key: names the directory that it builds, over all its sessions."""

    def __init__(self, sock: socket.socket, *, shared_key: str, methods: Sequence[str]) -> None:
        self.channel = SessionChannel(sock)
        self.shared_key = shared_key
        self._methods = frozenset(method.lower() for method in methods)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def has(self, method: str) -> bool:
        """Tell whether the client serves a method."""
        return method.lower() in self._methods

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the session's loop, from another thread, and return what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Begin something in the session's loop, from another thread, at most until its end."""

        async def begin() -> None:
            task = asyncio.create_task(work, name=name)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.wait(begin())

    def close(self) -> None:
        """End what was begun, and the connection."""
        for task in self._tasks:
            task.cancel()
        self.channel.close()

    async def secret(self, secret_id: str) -> bytes | None:
        """Return a secret's content, None if the client has none of this name."""
        if not self.has(_SECRET):
            return None
        method = UnaryUnaryMethod(self.channel, _SECRET, m.GetSecretRequest, m.GetSecretResponse)
        try:
            answer = await method(m.GetSecretRequest(id=secret_id), timeout=_CALL_S)
        except GRPCError as exc:
            if exc.status is Status.NOT_FOUND:
                return None
            raise
        return answer.data

    async def credentials(self, host: str) -> tuple[str, str]:
        """Return the user and the secret for a registry, empty for none."""
        if not self.has(_CREDENTIALS):
            return "", ""
        method = UnaryUnaryMethod(self.channel, _CREDENTIALS, m.CredentialsRequest, m.CredentialsResponse)
        answer = await method(m.CredentialsRequest(host=host), timeout=_CALL_S)
        return answer.username, answer.secret

    async def has_agent(self, agent_id: str) -> bool:
        """Tell whether the client lends an ssh agent of this name."""
        if not self.has(_CHECK_AGENT):
            return False
        method = UnaryUnaryMethod(self.channel, _CHECK_AGENT, m.CheckAgentRequest, m.CheckAgentResponse)
        try:
            await method(m.CheckAgentRequest(id=agent_id), timeout=_CALL_S)
        except GRPCError:
            return False
        return True

    async def forward_agent(self, agent_id: str, ours: socket.socket) -> None:
        """Pass bytes between a socket, which is closed at the end, and an ssh agent of the client's."""
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        method = StreamStreamMethod(self.channel, _FORWARD_AGENT, m.BytesMessage, m.BytesMessage)
        with ours:
            try:
                async with method.open(metadata=[("buildkit.ssh.id", agent_id)]) as stream:
                    await stream.send_request()
                    sending = asyncio.create_task(_send_all(ours, stream), name="to an ssh agent")
                    try:
                        while (message := await stream.recv_message()) is not None:
                            await loop.sock_sendall(ours, message.data)
                    finally:
                        sending.cancel()
            except (GRPCError, StreamTerminatedError, OSError) as exc:
                log.debug("an ssh agent of a client's is gone", reason=exc)

    async def open_upload(self, place: str) -> Upload:
        """Begin to read an archive that the client has on its standard input; place: its URL."""
        upload = Upload(self.channel)
        await upload.open(place)
        return upload

    async def open_directory(
        self, name: str, *, follow: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> filesync.Transfer:
        """Begin to read a directory of the client's.

        Raises:
            NotFound: it serves none.
        """
        if not self.has(filesync.METHOD):
            raise NotFound("no local sources enabled", hint="the client's session serves no files")
        transfer = filesync.Transfer(self.channel)
        try:
            await transfer.open(name, follow=follow, exclude=exclude)
        except BaseException:
            await transfer.close()
            raise
        return transfer


class Upload:
    """An archive that a client sends."""

    def __init__(self, channel: SessionChannel) -> None:
        self._method = StreamStreamMethod(channel, _PULL, m.BytesMessage, m.BytesMessage)
        self._stack = AsyncExitStack()

    async def open(self, place: str) -> None:
        """Ask for it."""
        parts = urlsplit(place)
        metadata = [("urlpath", parts.path), ("urlhost", parts.netloc)]
        self._stream = await self._stack.enter_async_context(self._method.open(metadata=metadata))
        await self._stream.send_request(end=True)

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end."""
        return await next_data(self._stream.recv_message)

    async def close(self) -> None:
        """End it; fine at any time."""
        with suppress(GRPCError, StreamTerminatedError, H2Error):
            await self._stack.aclose()


async def _send_all(sock: socket.socket, stream: Stream[m.BytesMessage, m.BytesMessage]) -> None:
    """Send what comes from a socket until its end."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, _PIECE):
        await stream.send_message(m.BytesMessage(data=data))
    await stream.end()


class Sessions:
    """The sessions that are open, by id. Belongs to the side loop."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._changed = asyncio.Condition()

    async def serve(self, session_id: str, session: Session) -> None:
        """Keep a session until its client has gone."""
        await session.channel.open()
        async with self._changed:
            self._open[session_id] = session
            self._changed.notify_all()
        try:
            await session.channel.ended()
        finally:
            if self._open.get(session_id) is session:
                del self._open[session_id]
            session.close()

    async def find(self, session_id: str) -> Session:
        """Return a session, which may be about to come.

        Raises:
            NotFound: it does not come.
        """
        try:
            async with asyncio.timeout(_ARRIVAL_S), self._changed:
                await self._changed.wait_for(lambda: session_id in self._open)
                return self._open[session_id]
        except TimeoutError:
            raise NotFound(f"no active session for {session_id}: the client has not opened it") from None
