"""One exchange for a whole run, start, attach or exec: what sampan's own command line uses (docs/api.md).

```
 request ─► prepare (may fail: plain HTTP error) ─► head, frame 4 ─► go (attach, start) ─► output ─► frame 5
            └───────────── one worker thread, one hop ─────────────────────────────┘        └ loop, on exit
```

The shim sends the last frame, since only it knows when the last byte of output has left it (a slow reader
may be long behind the exit). sampand closes its duplicate when the wait is over, so the client sees the end
of the connection only when both are done: after the code, and after the removal if there is to be one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
from aiohttp import web

from sampan.daemon.call import Call
from sampan.daemon.failures import exit_code_of, hint_of, message_of
from sampan.daemon.headers import head_lines
from sampan.daemon.landing import Landing
from sampan.daemon.streaming import frame
from sampan.daemon.takeover import Takeover, send_all
from sampan.engine.types import Subscription, WaitResult

SESSION_TYPE: Final = "application/vnd.sampan.session"
CREATED: Final = 4
END: Final = 5


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Data of the last frame."""

    StatusCode: int
    Error: str = ""
    Hint: str = ""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """Data of the first frame."""

    Id: str
    Warnings: list[str] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams a session carries, and the keys that end it."""

    stdin: bool
    stdout: bool
    stderr: bool
    detach_keys: str


class Plan(Protocol):
    """What one kind of session does; every method is called in the same worker thread, in this order."""

    def prepare(self) -> Created:
        """Make or find the object; an error here becomes an HTTP response."""
        ...

    def subscribe(self, give: Callable[[WaitResult], None]) -> Subscription:
        """Ask for the exit."""
        ...

    def go(self, fd: int) -> None:
        """Attach fd and start; an error here ends the session in its last frame."""
        ...


async def run_session(call: Call, plan: Plan) -> web.StreamResponse:
    """Carry out plan over the connection of call; returns when the session is over."""
    takeover = Takeover(call.request)
    ended: Landing[WaitResult] = Landing()
    takeover.settle(keep_open=True)
    try:
        begun = await takeover.lend(
            call.workers.slow(_begin, plan, takeover, ended),
            unwanted=lambda begun: begun.subscription.cancel(),
        )
    except Exception:
        takeover.refuse()
        raise
    try:
        hangup = call.hangups.watch(takeover.sock.fileno())
        try:
            if begun.failure is None:
                await asyncio.wait((ended.future, hangup), return_when=asyncio.FIRST_COMPLETED)
            if not hangup.done():
                await takeover.drained()
            if begun.failure is not None:
                await _send_end(takeover, begun.failure, hangup)
        finally:
            call.hangups.forget(takeover.sock.fileno())
    finally:
        begun.subscription.cancel()
        takeover.close()
    return web.Response()  # nobody gets it: the connection is closed


@dataclass(frozen=True, slots=True)
class _Begun:
    """A session whose head is sent. failure: the program does not run, whatever the exit says."""

    subscription: Subscription
    failure: Exception | None


def _begin(plan: Plan, takeover: Takeover, ended: Landing[WaitResult]) -> _Begun:
    """Do everything up to the running program; runs in a worker thread."""
    created = plan.prepare()
    takeover.send_head(SESSION_TYPE, headers=head_lines())
    takeover.send_now(frame(CREATED, msgspec.json.encode(created)))
    subscription = plan.subscribe(ended.give)
    try:
        plan.go(takeover.fd)
    except Exception as exc:
        return _Begun(subscription, exc)
    return _Begun(subscription, None)


async def _send_end(takeover: Takeover, error: Exception, hangup: asyncio.Future[None]) -> None:
    """Send the last frame of a program that never ran, unless the client goes."""
    end = End(StatusCode=exit_code_of(error), Error=message_of(error), Hint=hint_of(error))
    sending = send_all(takeover.sock, frame(END, msgspec.json.encode(end)))
    task = asyncio.create_task(sending, name="end of session")
    await asyncio.wait((task, hangup), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
