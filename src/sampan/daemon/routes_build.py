"""Builds: POST /build in classic Docker's words, cancel, prune. docs/build.md; API 1.51, `/build`."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiohttp import web

from sampan.daemon.build_parameters import read_request
from sampan.daemon.call import Call, encode_line, reply
from sampan.daemon.failures import hint_of, message_of
from sampan.daemon.landing import Mailbox
from sampan.daemon.routing import Router
from sampan.daemon.streaming import end_stream, open_stream
from sampan.daemon.upload import Upload
from sampan.errors import ProcessFailed

if TYPE_CHECKING:
    from sampan.build.checks import Finding
    from sampan.build.host import Cancel
    from sampan.build.index import Index
    from sampan.build.request import BuildRequest, Output
    from sampan.daemon.build_graph import GraphStream
    from sampan.store.archive.readable import Readable

    Begin = Callable[[Readable, ExitStack, Cancel], tuple[BuildRequest, Callable[[], Index]]]

_BUFFER: Final = 1024 * 1024
_BEGUN: Final[dict[str, object]] = {}  # the first message: the Dockerfile is right


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("POST", "/build/prune", prune)


class _Stream:
    """A build's output as the objects of the stream; a `build.request.Output`."""

    def __init__(self, mailbox: Mailbox[dict[str, object]], *, quiet: bool) -> None:
        self._mailbox = mailbox
        self._quiet = quiet

    def text(self, text: str) -> None:
        """See `Output`."""
        if not self._quiet:
            self._mailbox.put({"stream": text})

    def image(self, image_id: str) -> None:
        """See `Output`."""
        if self._quiet:
            self._mailbox.put({"stream": f"{image_id}\n"})
        else:
            self._mailbox.put({"aux": {"ID": image_id}})

    def warn(self, text: str) -> None:
        """See `Output`."""
        self.text(f"[Warning] {text}\n")

    def kept(self, step_id: str) -> None:
        """See `Output`: our own client tells its user."""
        self._mailbox.put({"aux": {"Failed": step_id}})

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """See `Output`."""
        self.text(f"{name}\n")
        yield

    def pull(self, progress: dict[str, object]) -> None:
        """See `Output`."""
        if not self._quiet:
            self._mailbox.put(progress)


async def build(call: Call) -> web.StreamResponse:
    """POST /build (whose route `routes_buildkit` has): 400 or 404 for a wrong Dockerfile; later it is the
    stream's last object that says what failed.
    """
    builds, request, remote = call.engine.builds, read_request(call), call.text("remote")

    def begin(body: Readable, _: ExitStack, stop: Cancel) -> tuple[BuildRequest, Callable[[], Index]]:
        if remote:
            whole = replace(request, ignores=True)
            return whole, lambda: builds.fetch(remote, whole, stop)
        return request, lambda: builds.receive(body)

    return await stream_build(call, begin)


async def stream_build(call: Call, begin: Begin) -> web.StreamResponse:
    """Build, and answer with what it says. begin: called in a thread, before anything, with the
    body, a stack that is closed when the build has ended, and what stops it.
    """
    from sampan.build.host import Cancel

    mailbox: Mailbox[dict[str, object]] = Mailbox(call.post)
    watcher = _open_graph(call, mailbox)
    output: Output = watcher or _Stream(mailbox, quiet=call.flag("q"))
    stop = Cancel()
    upload = Upload()
    feeder = asyncio.create_task(upload.feed(call.request), name="upload of a context")

    def work() -> None:
        with io.BufferedReader(upload, _BUFFER) as body, ExitStack() as held:
            request, open_context = begin(body, held, stop)
            if call.flag("check"):
                checked = call.engine.builds.check(request, open_context)
                mailbox.put(_BEGUN)
                output.text(checked.text())
                mailbox.put({"aux": {"Findings": [_finding(one) for one in checked.findings]}})
                return
            call.engine.builds.build(
                request,
                open_context,
                output=output,
                cancel=stop,
                begin=lambda: mailbox.put(_BEGUN),
                watcher=watcher,
            )

    async def run() -> None:
        try:
            await call.workers.slow(work)
        finally:
            if watcher is not None:
                watcher.close()
            mailbox.close()

    task = asyncio.create_task(run(), name="build")
    try:
        return await answer(call, mailbox, task)
    finally:
        stop.set()
        task.add_done_callback(lambda _: _close(stop, task))  # before anything that a second cancel may end
        upload.abort()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


def _open_graph(call: Call, mailbox: Mailbox[dict[str, object]]) -> GraphStream | None:
    """Return what tells the graph, if the client draws it (`graph=1`) in place of classic's text."""
    if not call.flag("graph") or call.flag("q") or call.flag("check") or call.flag("explain"):
        return None
    from sampan.daemon.build_graph import GraphStream

    return GraphStream(mailbox)


def _finding(found: Finding) -> dict[str, object]:
    place = found.place
    return {
        "Rule": found.rule,
        "Message": found.message,
        "Url": found.url,
        "Lines": [place.first, place.last],
    }


def _close(stop: Cancel, task: asyncio.Task[None]) -> None:
    stop.close()
    if not task.cancelled():
        task.exception()  # told already, or nobody is left to be told


async def answer(
    call: Call, mailbox: Mailbox[dict[str, object]], task: asyncio.Task[None]
) -> web.StreamResponse:
    """Answer with what a build puts into a mailbox; how its task ends is the stream's end.

    Raises:
        SampanError: the task ended before it had said anything.
    """
    first = await mailbox.get()
    if first is None:
        await task  # raises what is wrong
    response = await open_stream(call)
    if first:
        await response.write(encode_line(first))
    while (line := await mailbox.get()) is not None:
        await response.write(encode_line(line))
    await asyncio.wait((task,))
    error = task.exception()
    if error is not None:
        await response.write(encode_line(_failure(error)))
    return await end_stream(response)


def _failure(error: BaseException) -> dict[str, object]:
    """Return the last object of a build that failed; only a command's code is there: clients exit with it."""
    if isinstance(error, ProcessFailed):
        message = message_of(error)
        return {"errorDetail": {"code": error.exit_code, "message": message}, "error": message}
    hint = hint_of(error)
    message = message_of(error) + (f"\n{hint}" if hint else "")
    return {"errorDetail": {"message": message}, "error": message}


async def prune(call: Call) -> web.StreamResponse:
    """POST /build/prune."""
    from sampan.engine.builds.cache import PruneWish

    keep = call.whole("reserved-space")
    wish = PruneWish(
        filters=call.filters(),
        every=call.flag("all"),
        keep_bytes=call.whole("keep-storage") if keep is None else keep,
    )
    pruned = await call.workers.slow(call.engine.builds.prune, wish)
    return reply({"CachesDeleted": pruned.ids, "SpaceReclaimed": pruned.freed_bytes})
