"""A build whose client goes, and goes on going: nothing of it may stay open."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from sampan.build.host import Cancel
from sampan.daemon.call import Call
from sampan.daemon.landing import Post
from sampan.daemon.routes_build import stream_build
from sampan.daemon.workers import Workers
from sampan.errors import Unavailable


class _SilentBody:
    async def readany(self) -> bytes:
        await asyncio.Event().wait()
        return b""


def test_a_build_that_is_cancelled_twice_gives_its_descriptor_back() -> None:
    """The second time comes while it waits for the end of the upload."""
    begun, go_on, seen = threading.Event(), threading.Event(), []
    complaints: list[dict[str, Any]] = []

    def begin(_body: object, _held: ExitStack, stop: Cancel) -> NoReturn:
        seen.append(stop)
        begun.set()
        go_on.wait()
        raise Unavailable("the pull was cancelled")

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        workers = Workers()
        request = SimpleNamespace(path="/build", content=_SilentBody(), query={}, headers={})
        call = SimpleNamespace(request=request, workers=workers, post=Post(), flag=lambda _: False)
        task = asyncio.create_task(stream_build(cast(Call, call), begin))
        await asyncio.to_thread(begun.wait)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        go_on.set()
        builds = [one for one in asyncio.all_tasks() if one.get_name() == "build"]
        await asyncio.wait(builds)
        del builds
        await asyncio.sleep(0)
        workers.close()

    asyncio.run(scene())
    [stop] = seen
    assert stop.fd == -1
    assert complaints == []
