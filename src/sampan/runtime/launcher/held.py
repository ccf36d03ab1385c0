"""Clients that are joined behind a replay of the log, so that no byte is missing and none comes twice. Lean.

```
 sampand                                shim
  ├─ attach {hold} ─────────────────────►│ draws a line through the log: until_ns; what comes behind is kept
  │◄─ {until_ns} ────────────────────────┤ (once queues have written what came before)
  ├═ the log up to until_ns ═► client    │ more than 1 MiB kept: the container waits, as for any slow reader
  ├─ join, on the same connection ──────►│
  │◄─ {} ────────────────────────────────┤═ the unfinished line, what was kept, and on ═► client
```

The connection closes before `join`: sampand was killed or gave up, and the client's connection is ended.
"""

from __future__ import annotations

import time

from sampan.errors import Conflict
from sampan.runtime.launcher.attached import STDERR, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.launcher.attached import AttachedClient
    from sampan.runtime.launcher.control import Request
    from sampan.runtime.launcher.log_queue import LogQueue
    from sampan.runtime.launcher.log_writer import LogWriter
    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import AttachRequest
    from sampan.runtime.launcher.streams import Streams

_NUMBERS = {"stdout": STDOUT, "stderr": STDERR}
_POLL_S = 0.005
_WRITTEN_S = 2.0  # a disk that hangs must not hang the client, too


class HeldClients:
    """The held clients of one container's streams."""

    def __init__(self, loop: Loop, streams: Streams, log: LogWriter | None) -> None:
        self._loop = loop
        self._streams = streams
        self._log = log
        self._clients: dict[str, AttachedClient] = {}

    def hold(self, request: Request, attach: AttachRequest) -> None:
        """Join a client whose connection others write to until `join`; answer where they have to stop."""
        client = self._streams.hold(attach)
        self._clients[client.id] = client
        request.on_close(lambda: self._drop(client))
        if self._log is None:
            request.answer({"until_ns": 0})
            return
        until_ns = self._log.mark()
        for stream, data in self._log.unfinished():
            if data:
                client.send(_NUMBERS[stream], data)
        self._answer(request, until_ns, self._log.queued(), time.monotonic() + _WRITTEN_S)

    def join(self, attach_id: str) -> None:
        """Send a client what was kept. Conflict: it has left."""
        client = self._clients.pop(attach_id, None)
        if client is None:
            raise Conflict("the client has left")
        self._let_times_go()
        client.let_go()

    def _answer(
        self, request: Request, until_ns: int, queued: list[tuple[LogQueue, int]], deadline: float
    ) -> None:
        written = all(queue.has_written(position) for queue, position in queued)
        if written or time.monotonic() > deadline:
            request.answer({"until_ns": until_ns})
            return
        self._loop.call_later(_POLL_S, lambda: self._answer(request, until_ns, queued, deadline))

    def _drop(self, client: AttachedClient) -> None:
        if self._clients.pop(client.id, None) is not None:
            self._let_times_go()
            client.drop()

    def _let_times_go(self) -> None:
        if self._log is not None and not self._clients:
            self._log.unmark()
