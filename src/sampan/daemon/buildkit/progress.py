"""What a build does, as `Control/Status` tells it: nodes of a graph with their times, counters and logs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from sampan.build.graph import Step
from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.failures import shown

_MOST_LOG: Final = 2 * 1024 * 1024  # bytes of one step, as BuildKit's own default
_STDOUT: Final = 1
_PAUSE_S: Final = 0.05  # between two messages: what came meanwhile goes as one


class Progress:
    """One build's. Told from any thread; read in the side loop, by any number of readers, from the beginning.

    A `build.graph.Watcher` and a `build.request.Output`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._told: list[m.StatusResponse] = []
        self._ended = False
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._vertexes: dict[str, m.Vertex] = {}
        self._logged: dict[str, int] = {}
        self.failed: Step | None = None

    # What the builder tells.

    def planned(self, steps: Sequence[Step]) -> None:
        """See `Watcher`: these clients draw what has begun."""

    def began(self, step: Step) -> None:
        """See `Watcher`."""
        self._begin(m.Vertex(digest=step.id, inputs=step.needs, name=step.name))

    def said(self, step: Step, text: str) -> None:
        """See `Watcher`."""
        self.log(step.id, text)

    def ended(self, step: Step, *, cached: bool, error: BaseException | None) -> None:
        """See `Watcher`."""
        if error is not None and self.failed is None:
            self.failed = step
        self._end(step.id, cached=cached, error=error)

    def text(self, text: str) -> None:
        """Take classic Docker's text: it is not shown here."""

    def image(self, image_id: str) -> None:
        """Take a stage's image: it is not shown here."""

    def warn(self, text: str) -> None:
        """Take a warning: a node that ends with it."""
        digest = new_digest()
        self._begin(m.Vertex(digest=digest, name=f"[internal] {text}"))
        self._end(digest, cached=False, error=None)

    def kept(self, step_id: str) -> None:
        """Be told that a failed step's files are kept: so is the user."""
        self.warn(f"the step's files are kept: sampan builder debug {step_id}")

    def beside(self, name: str) -> AbstractContextManager[str]:
        """Show something beside the Dockerfile's steps."""
        return self.node(name)

    def pull(self, progress: dict[str, object]) -> None:
        """Take the progress of a base's pull: counters of a node of its own, which begins with the first."""
        name = str(progress.get("id") or "")
        detail = progress.get("progressDetail")
        if not name or not isinstance(detail, dict):
            return
        with self._lock:
            digest = next(
                (
                    one.digest
                    for one in self._vertexes.values()
                    if one.name == _PULL and not one.completed.seconds
                ),
                "",
            )
        if not digest:
            digest = new_digest()
            self._begin(m.Vertex(digest=digest, name=_PULL))
        done = str(progress.get("status")) in ("Pull complete", "Already exists", "Download complete")
        current, total = detail.get("current"), detail.get("total")
        self.count(
            digest,
            name,
            current=current if isinstance(current, int) else 0,
            total=total if isinstance(total, int) else 0,
            done=done,
        )

    # What the doors tell.

    @contextmanager
    def node(self, name: str, *, needs: Sequence[str] = ()) -> Iterator[str]:
        """Show something beside the Dockerfile's steps for as long as the block; yields its id."""
        digest = new_digest()
        self._begin(m.Vertex(digest=digest, inputs=needs, name=name))
        error: BaseException | None = None
        try:
            yield digest
        except BaseException as exc:
            error = exc
            raise
        finally:
            self._end(digest, cached=False, error=error)

    def count(self, digest: str, name: str, *, current: int, total: int = 0, done: bool = False) -> None:
        """Show a counter of a node; name is also its id."""
        status = m.VertexStatus(
            id=name,
            vertex=digest,
            name=name,
            current=current,
            total=total,
            timestamp=now(),
            started=self._vertexes[digest].started,
            completed=now() if done else None,
        )
        self._tell(m.StatusResponse(statuses=[status]))

    def log(self, digest: str, text: str) -> None:
        """Show output of a node; beyond the limit it is dropped, and that is said once."""
        data = text.encode(errors="replace")
        before = self._logged.get(digest, 0)
        self._logged[digest] = before + len(data)
        if before >= _MOST_LOG:
            return
        if before + len(data) >= _MOST_LOG:
            data = data[: _MOST_LOG - before] + b"\n[output clipped, log limit 2MiB reached]\n"
        line = m.VertexLog(vertex=digest, timestamp=now(), stream=_STDOUT, msg=data)
        self._tell(m.StatusResponse(logs=[line]))

    def close(self) -> None:
        """End: what is still under way ends too."""
        for digest, vertex in list(self._vertexes.items()):
            if not vertex.HasField("completed"):
                self._end(digest, cached=False, error=None)
        self._ended = True
        self._wake()
        self._loop.call_soon_threadsafe(self._over.set)

    def _begin(self, vertex: m.Vertex) -> None:
        vertex.started.CopyFrom(now())
        self._vertexes[vertex.digest] = vertex
        self._tell(m.StatusResponse(vertexes=[vertex]))

    def _end(self, digest: str, *, cached: bool, error: BaseException | None) -> None:
        vertex = self._vertexes[digest]
        vertex.completed.CopyFrom(now())
        vertex.cached = cached
        vertex.error = "" if error is None else shown(error)
        self._tell(m.StatusResponse(vertexes=[vertex]))

    def _tell(self, told: m.StatusResponse) -> None:
        with self._lock:
            self._told.append(told)
        self._wake()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    # What the client reads.

    async def follow(self) -> AsyncIterator[m.StatusResponse]:
        """Yield everything that is told, to the end."""
        at = 0
        while True:
            self._changed.clear()
            with self._lock:
                fresh, at = self._told[at:], len(self._told)
            if fresh:
                whole = m.StatusResponse()
                for one in fresh:
                    whole.MergeFrom(one)
                yield whole
            elif self._ended:
                return
            else:
                await self._changed.wait()
            await self._pause()

    async def _pause(self) -> None:
        """Let some more come together; at the end a client waits for nothing else."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._over.wait()


_PULL: Final = "[internal] pull of a base image"


def now() -> Timestamp:
    """Return the time."""
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)


def new_digest() -> str:
    """Return an id for a node."""
    return "sha256:" + hashlib.sha256(os.urandom(16)).hexdigest()
