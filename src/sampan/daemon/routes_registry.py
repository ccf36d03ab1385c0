"""What asks a registry: pull."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from sampan.daemon.call import Call, encode_line
from sampan.daemon.landing import Mailbox
from sampan.daemon.streaming import end_stream, error_line, open_stream
from sampan.engine.remote_images import PullRequest

Line = dict[str, object]
Report = Callable[[Line], None]


async def pull(call: Call) -> web.StreamResponse:
    """POST /images/create?fromImage=."""
    request = PullRequest(
        image=call.text("fromImage"),
        tag=call.text("tag"),
        platform=call.text("platform"),
        auth=call.request.headers.get("X-Registry-Auth", ""),
    )
    wanted = await call.workers.quick(call.engine.remote.open_pull, request)
    try:
        return await stream_when_begun(call, wanted.run)
    finally:
        wanted.cancel()  # has an effect only when the client has gone


async def stream_when_begun(call: Call, work: Callable[[Report], None]) -> web.StreamResponse:
    """Run work(report) in a thread and send what it reports; an error before the first line is a status."""
    mailbox: Mailbox[Line] = Mailbox(call.post)

    async def run() -> None:
        try:
            await call.workers.slow(work, mailbox.put)
        finally:
            mailbox.close()

    task = asyncio.create_task(run(), name=f"work of {call.request.path}")
    try:
        line = await mailbox.get()
        if line is None:
            await task
        response = await open_stream(call)
        while line is not None:
            await response.write(encode_line(line))
            line = await mailbox.get()
        await asyncio.wait((task,))
        if (error := task.exception()) is not None:
            await response.write(error_line(error))
    finally:
        task.cancel()
    return await end_stream(response)
