"""Copy bytes between a client and a socket pair whose other end the engine has; half-closes pass through."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

_CHUNK: Final = 256 * 1024


class Bridge:
    """Copies both ways as long as either side has something to say. Belongs to the running loop.

    early: what the client sent already. keep_open: the client is sent more after the engine's last byte.
    """

    def __init__(self, client: socket.socket, *, early: bytes, keep_open: bool = False) -> None:
        self._client = client
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._ours = ours
        self._theirs = theirs.detach()
        self._in = asyncio.create_task(_copy(client, ours, early, end=True), name="bridge in")
        self._out = asyncio.create_task(_copy(ours, client, b"", end=not keep_open), name="bridge out")

    @property
    def engine_fd(self) -> int:
        """The end for the engine, which duplicates it."""
        return self._theirs

    def release_engine_end(self) -> None:
        """Close our copy of the engine's end: the end of the stream shows only when nobody holds it."""
        if self._theirs >= 0:
            os.close(self._theirs)
            self._theirs = -1

    async def finished(self) -> None:
        """Return when the engine's side has ended and all of it was sent to the client."""
        await asyncio.wait((self._out,))

    def close(self) -> None:
        """Stop copying."""
        self._in.cancel()
        self._out.cancel()
        self.release_engine_end()
        self._ours.close()


async def _copy(source: socket.socket, target: socket.socket, first: bytes, *, end: bool) -> None:
    """Send first and then all that source has to target; with end, half-close target then."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(target, first)
        while data := await loop.sock_recv(source, _CHUNK):
            await loop.sock_sendall(target, data)
    except ConnectionError:
        pass  # one side has gone: the other learns it by the half-close
    if not end:
        return
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has gone as well
