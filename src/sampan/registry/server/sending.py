"""Answers made of a file: whole, or one range of it, by sendfile(2) where the connection is plain.

Large ones are sent by threads, so that several clients have several processors and a slow disk stops nobody
else; when all threads are busy (slow clients), and over TLS, the event loop sends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import select
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from sampan.registry.server.errors import RegistryError

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_PIECE: Final = 512 * 1024
_THREADS: Final = 16
_LARGE: Final = 256 * 1024
_NEAR_BYTES: Final = 256 * 1024
_STALLED_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file."""

    start: int
    length: int


def parse_range(text: str, size_bytes: int) -> Span | None:
    """Read a `Range`; None where the whole is to be sent: none is asked for, several, or other units.

    Raises:
        RegistryError: nothing of it is in the file.
    Source: RFC 9110, 14.2.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
    else:
        start, end = max(size_bytes - int(last), 0), size_bytes
    if start >= end:
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        raise RegistryError("SIZE_INVALID", f"range {text!r} is not satisfiable", status=416, headers=headers)
    return Span(start, end - start)


class Sender:
    """Threads that send files. They are not waited for at the program's end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "send")
        self._busy = 0

    async def send(self, transport: asyncio.Transport, file: BinaryIO, span: Span) -> None:
        """Send a span over a plain connection.

        Raises:
            ConnectionError: the client has gone, or has not read for a long time.
        """
        loop = asyncio.get_running_loop()
        if span.length < _LARGE or self._busy >= _THREADS or transport.get_write_buffer_size():
            await loop.sendfile(transport, file, span.start, span.length)
            return
        self._busy += 1
        known: socket.socket = transport.get_extra_info("socket")
        client = socket.socket(fileno=os.dup(known.fileno()))  # the loop may close its own at any time
        sending = self._threads.submit(_send_span, client, os.dup(file.fileno()), span)
        sending.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        try:
            await asyncio.wrap_future(sending)
        except asyncio.CancelledError:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # ends the thread
            raise

    def _done(self) -> None:
        self._busy -= 1


def _send_span(client: socket.socket, fd: int, span: Span) -> None:
    _keep_close(client)
    offset, end = span.start, span.start + span.length
    writable = select.poll()
    writable.register(client, select.POLLOUT)
    with client:
        try:
            while offset < end:
                try:
                    count = os.sendfile(client.fileno(), fd, offset, end - offset)
                except BlockingIOError:
                    if not writable.poll(_STALLED_S * 1000):
                        raise ConnectionAbortedError("the client does not read") from None
                    continue
                if not count:
                    raise ConnectionAbortedError("the file is shorter than it was")
                offset += count
        finally:
            os.close(fd)


def _keep_close(client: socket.socket) -> None:
    """Let little be on its way to a client of this machine: what it reads is still in the processor's cache.

    The kernel would take megabytes, which is right for a long line only.
    """
    peer = client.getpeername()
    if client.family in (socket.AF_INET, socket.AF_INET6) and ipaddress.ip_address(peer[0]).is_loopback:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _NEAR_BYTES)


class FileAnswer(web.StreamResponse):
    """Sends a span of an open file, and closes it."""

    def __init__(
        self, file: BinaryIO, span: Span, sender: Sender, *, status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(status=status, headers=headers)
        self._file = file
        self._sender = sender
        self._span = span
        self.content_length = span.length

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and content."""
        try:
            writer = await super().prepare(request)
            if writer is not None and request.method != "HEAD" and self._span.length:
                await self._send(request, writer)
            await self.write_eof()
            return writer
        finally:
            self._file.close()

    async def _send(self, request: web.BaseRequest, writer: AbstractStreamWriter) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        if transport.get_extra_info("sslcontext") is not None:
            await self._copy(writer)
            return
        await self._sender.send(transport, self._file, self._span)

    async def _copy(self, writer: AbstractStreamWriter) -> None:
        loop = asyncio.get_running_loop()
        offset, left = self._span.start, self._span.length
        while left:
            piece = await loop.run_in_executor(None, os.pread, self._file.fileno(), min(_PIECE, left), offset)
            if not piece:
                raise ConnectionResetError("the file is shorter than it was")
            await writer.write(piece)
            offset += len(piece)
            left -= len(piece)
