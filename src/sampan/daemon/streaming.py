"""Answers whose body comes over time: JSON objects or log frames, each flushed as it comes."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from sampan.daemon.call import Call, encode_line
from sampan.daemon.connection import Connection
from sampan.daemon.failures import JSON_TYPE, hint_of, message_of
from sampan.daemon.headers import add_common
from sampan.daemon.landing import Mailbox
from sampan.engine.types import LogEntry

RAW_STREAM: Final = "application/vnd.docker.raw-stream"
FRAMED_STREAM: Final = "application/vnd.docker.multiplexed-stream"
_FRAMED_SINCE: Final = (1, 42)


def stream_type(*, tty: bool, version: tuple[int, int]) -> str:
    """Return the content type of container output; the framing itself depends on tty alone."""
    return FRAMED_STREAM if not tty and version >= _FRAMED_SINCE else RAW_STREAM


def frame(kind: int, data: bytes) -> bytes:
    """Return data behind Docker's 8-byte header."""
    return struct.pack(">BxxxL", kind, len(data)) + data


def frame_entries(entries: Iterable[LogEntry], *, tty: bool) -> bytes:
    """Return log lines as one piece of a stream."""
    return b"".join(entry.data if tty else frame(entry.stream, entry.data) for entry in entries)


async def open_stream(call: Call, content_type: str = JSON_TYPE) -> web.StreamResponse:
    """Send status line and headers of a streamed answer at once; the body is chunked."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    add_common(response)
    await response.prepare(call.request)
    mark_answering(call.request)
    return response


def mark_answering(request: web.BaseRequest) -> None:
    """Note that the head of the answer is on its way."""
    assert isinstance(request.protocol, Connection)
    request.protocol.answering = True


async def end_stream(response: web.StreamResponse) -> web.StreamResponse:
    """Finish a streamed answer."""
    await response.write_eof()
    return response


def error_line(error: BaseException) -> bytes:
    """Return an error as the object that ends a JSON stream whose status was sent as 200."""
    hint = hint_of(error)
    message = message_of(error) + (f" ({hint})" if hint else "")
    return encode_line({"errorDetail": {"message": message}, "error": message})


async def stream_progress(
    call: Call, work: Callable[[Callable[[dict[str, object]], None]], None]
) -> web.StreamResponse:
    """Run work(report) in a thread and send each reported object; an error is the last object.

    The status is sent before the work begins, so its errors go in-band (docker-api 1.5).
    """
    mailbox: Mailbox[dict[str, object]] = Mailbox(call.post)
    response = await open_stream(call)

    async def run() -> None:
        try:
            await call.workers.slow(work, mailbox.put)
        finally:
            mailbox.close()

    task = asyncio.create_task(run(), name=f"progress of {call.request.path}")
    try:
        while (line := await mailbox.get()) is not None:
            await response.write(encode_line(line))
        await asyncio.wait((task,))
        if (error := task.exception()) is not None:
            await response.write(error_line(error))
    finally:
        task.cancel()
    return await end_stream(response)
