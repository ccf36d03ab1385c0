"""An answer of many bytes that a thread writes straight to the client's socket: archives of containers.

```
 event loop: Takeover (reads nothing more) ─▶ thread: head, chunks, sendfile(2) ─▶ socket   loop: closes it
```

Going through the event loop would copy each byte three times and cost the loop a turn for every piece. The
body is chunked (RFC 9112, 7.1), so that a client can tell an archive that broke off from a whole one; a file
goes out in one chunk, and its bytes never come into this process. The connection ends with the answer.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from aiohttp import web

from sampan.daemon.call import Call
from sampan.daemon.headers import head_lines
from sampan.daemon.streaming import mark_answering
from sampan.daemon.takeover import Takeover

_STALLED_S: Final = 300.0
_ZEROS: Final = bytes(1 << 16)
_END: Final = b"0\r\n\r\n"


class SocketSink:
    """Takes an archive and sends it in chunks to a non-blocking socket. For one thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Send data as a chunk; none for no data."""
        if data:
            self._send(b"%x\r\n" % len(data), data, b"\r\n")

    def copy(self, fd: int, size: int, /) -> None:
        """Send size bytes of a file as one chunk, with zeros for what it does not have any more."""
        self._send(b"%x\r\n" % size)
        sent = 0
        while sent < size:
            count = self._when_ready(partial(os.sendfile, self._fd, fd, sent, size - sent))
            if not count:
                break
            sent += count
        while sent < size:
            piece = _ZEROS[: size - sent]
            self._send(piece)
            sent += len(piece)
        self._send(b"\r\n")

    def send_head(self, headers: str) -> None:
        """Send the head of a 200 answer with these header lines."""
        framing = "Transfer-Encoding: chunked\r\nConnection: close\r\n"
        self._send(f"HTTP/1.1 200 OK\r\n{head_lines()}{headers}{framing}\r\n".encode())

    def finish(self) -> None:
        """Send the last chunk: the answer is whole."""
        self._send(_END)

    def _send(self, *parts: bytes | bytearray | memoryview) -> None:
        views = [memoryview(part) for part in parts]
        while views:
            sent = self._when_ready(lambda: os.writev(self._fd, views))
            while views and sent >= len(views[0]):
                sent -= len(views[0])
                views.pop(0).release()
            if views:
                views[0] = views[0][sent:]

    def _when_ready(self, call: Callable[[], int]) -> int:
        """Make a call, as soon as the socket takes bytes.

        Raises:
            ConnectionError: the client has gone, or has not read for a long time.
        """
        while True:
            with suppress(BlockingIOError):
                return call()
            if not self._poll.poll(_STALLED_S * 1000):
                raise ConnectionAbortedError(f"the client has not read for {_STALLED_S:.0f} s")


async def send_archive(call: Call, headers: str, work: Callable[[SocketSink], None]) -> web.StreamResponse:
    """Answer 200 with header lines, and with what work writes. An error breaks the answer off.

    Raises:
        ConnectionError: the client has gone.
    """
    takeover = Takeover(call.request)
    mark_answering(call.request)
    task = asyncio.ensure_future(call.workers.slow(_write, takeover.fd, headers, work))
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():  # the door closes: the thread shall not wait for the client
            with suppress(OSError):
                takeover.sock.shutdown(socket.SHUT_RDWR)
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # nobody is left to be told
        takeover.close()
    return web.Response()


def _write(fd: int, headers: str, work: Callable[[SocketSink], None]) -> None:
    sink = SocketSink(fd)
    sink.send_head(headers)
    work(sink)
    sink.finish()
