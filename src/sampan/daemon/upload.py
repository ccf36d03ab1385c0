"""Give a request's body, which arrives in the event loop, to a thread that reads a file."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from sampan.daemon.call import Call

_STALLED_S: Final = 300.0
_HIGH: Final = 4 * 1024 * 1024  # bytes kept for a slow reader before the client has to wait


async def _next_piece(request: web.BaseRequest) -> bytes:
    """Return what has come of the body; a client that sends nothing for a long time is given up."""
    async with asyncio.timeout(_STALLED_S):
        return await request.content.readany()


class Upload(io.RawIOBase):
    """A readable file whose bytes another task feeds. One reader thread, one feeding task."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._room.set()
        self._ready = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._size = 0
        self._full = False
        self._ended = False
        self._broken = ""

    async def feed(self, request: web.BaseRequest) -> None:
        """Pass the body of request on until its end, or until the reader has closed the file."""
        try:
            while piece := await _next_piece(request):
                if not self._push(memoryview(piece)):
                    return
                await self._room.wait()
            self._finish("")
        finally:
            self._finish("the client closed the connection before the whole body was sent")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        """Fill target with what is there, waiting for at least one byte; 0 at the end.

        Raises:
            ConnectionAbortedError: the body broke off.
        """
        view = memoryview(target).cast("B")
        piece = self._take(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def read_piece(self, limit: int) -> bytes:
        """Return up to limit bytes as they came, waiting for at least one; b"" at the end.

        Raises:
            ConnectionAbortedError: the body broke off.
        """
        piece = self._take(limit)
        whole = piece.obj
        return whole if isinstance(whole, bytes) and len(whole) == len(piece) else bytes(piece)

    def _take(self, limit: int) -> memoryview:
        with self._ready:
            while not self._pieces and not self._ended:
                self._ready.wait()
            if not self._pieces:
                if self._broken:
                    raise ConnectionAbortedError(self._broken)
                return memoryview(b"")
            piece = self._pieces.popleft()
            if limit < len(piece):
                self._pieces.appendleft(piece[limit:])
                piece = piece[:limit]
            self._size -= len(piece)
            if self._full and self._size <= _HIGH // 2:
                self._full = False
                self._loop.call_soon_threadsafe(self._room.set)
        return piece

    def close(self) -> None:
        """Take no more: what the client still sends is dropped."""
        self.abort("closed")
        super().close()

    def abort(self, reason: str = "the request has ended") -> None:
        """End the file early, from either side: a waiting reader is told reason, a waiting feeder goes on."""
        with self._ready:
            self._pieces.clear()
            self._size = 0
            if not self._ended:
                self._ended = True
                self._broken = reason
            self._ready.notify()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)

    def _push(self, piece: memoryview) -> bool:
        """Add a piece; False when nobody reads any more."""
        with self._ready:
            if self._ended:
                return False
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > _HIGH:
                self._full = True
                self._room.clear()
            self._ready.notify()
        return True

    def _finish(self, broken: str) -> None:
        with self._ready:
            if not self._ended:
                self._ended = True
                self._broken = broken
            self._ready.notify()


class Pieces:
    """A body as the archive reader takes it."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def read(self, size: int, /) -> bytes:
        """Return up to size bytes, b"" at the end."""
        return self._upload.read_piece(size)


async def with_upload(call: Call, work: Callable[[Pieces], None]) -> None:
    """Run work in a thread on the request's body; its error is raised here."""
    upload = Upload()
    feeder = asyncio.create_task(upload.feed(call.request), name=f"upload of {call.request.path}")

    def run() -> None:
        with upload:
            work(Pieces(upload))

    try:
        await call.workers.slow(run)
    finally:
        upload.abort()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
