"""Take a connection from aiohttp: it carries a container's bytes from then on (docs/api.md, "Streams").

```
 client ═══ socket ═══ transport of aiohttp (paused: reads nothing more)
                  ╚═══ our duplicate ──► engine ──► shim     reads and writes; sampand copies nothing
```

What the client sent before it was paused is kept (`connection.py`); then the engine gets one end of a
socket pair instead and `Bridge` copies, so that no byte is lost and none overtakes another.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from sampan.daemon.bridge import Bridge
from sampan.daemon.connection import Connection

T = TypeVar("T")

UPGRADED = (
    "HTTP/1.1 101 UPGRADED\r\n{headers}Content-Type: {type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
PLAIN = "HTTP/1.1 200 OK\r\n{headers}Content-Type: {type}\r\n\r\n"


class Takeover:
    """The connection of one request. `close` in every case; before `send_head` an HTTP answer is possible."""

    def __init__(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        connection = request.protocol
        assert isinstance(connection, Connection)
        self._transport = transport
        self._early = connection.divert()
        self._upgrade = request.headers.get("Upgrade", "") != ""
        self.sock = _duplicate(transport.get_extra_info("socket").fileno())
        self._bridge: Bridge | None = None
        self._lent = False
        self._fd = self.sock.fileno()
        self.begun = False  # the client has an answer's head

    @property
    def fd(self) -> int:
        """The descriptor that the engine may duplicate: bytes to and from the client."""
        return self._fd

    def send_head(self, content_type: str, *, headers: str = "") -> None:
        """Write the response head literally; from here on the connection carries a stream. Any thread.

        Raises:
            ConnectionError: the client has gone.
        """
        head = (UPGRADED if self._upgrade else PLAIN).format(headers=headers, type=content_type)
        self.begun = True
        self.send_now(head.encode())

    def send_now(self, data: bytes) -> None:
        """Write a few bytes at once. Only before the shim writes: the buffer is empty then."""
        sent = self.sock.send(data)
        if sent != len(data):
            raise ConnectionAbortedError("the client does not read")

    def settle(self, *, keep_open: bool = False) -> None:
        """Put a bridge in between if the client has sent something already. Call before `fd` is used."""
        if self._early:
            self._bridge = Bridge(self.sock, early=self._early, keep_open=keep_open)
            self._fd = self._bridge.engine_fd

    async def lend(self, work: Awaitable[T], *, unwanted: Callable[[T], None] = lambda _: None) -> T:
        """Await a thread's work that uses `fd`. Cancelled, keep our descriptors open until it has ended.

        Closed before, their numbers would soon be another client's, and the thread would not know.
        unwanted: takes what the work gave if nobody waits for it any more.
        """
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._lent = True
            task.add_done_callback(partial(self._return, unwanted))
            raise

    def _return(self, unwanted: Callable[[T], None], task: asyncio.Future[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            unwanted(task.result())
        self._lent = False
        self.close()

    async def drained(self) -> None:
        """Return when a bridge, if there is one, has copied everything both ways."""
        if self._bridge is not None:
            self._bridge.release_engine_end()
            await self._bridge.finished()

    def close(self) -> None:
        """Give up our descriptors; the stream lives on where the engine has its duplicate."""
        if self._lent:
            return  # whoever uses them gives them back
        if self._bridge is not None:
            self._bridge.close()
        self.sock.close()
        self._transport.abort()

    def refuse(self) -> None:
        """Give up our duplicate, so that aiohttp can send an HTTP error instead of the stream."""
        self.sock.close()


def _duplicate(fd: int) -> socket.socket:
    sock = socket.socket(fileno=os.dup(fd))
    sock.setblocking(False)
    return sock


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Write data to a socket that others may have filled, waiting for the client to read.

    Raises:
        ConnectionError: the client has gone.
    """
    sock.setblocking(False)  # the flag is shared by all duplicates; a replay of logs clears it
    await asyncio.get_running_loop().sock_sendall(sock, data)
