"""sampan's own stop, which tells how it went (docs/restarts-and-health.md, "Signals")."""

from __future__ import annotations

import msgspec
from aiohttp import web

from sampan.daemon.call import Call, reply
from sampan.daemon.routes_sampan import ROOT
from sampan.daemon.routing import Router
from sampan.spec.signals import signal_name


class StopAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to POST /sampan/v1/containers/{id}/stop. Reason: why it took SIGKILL, for people."""

    Signal: str
    Killed: bool
    WaitedMs: int
    Reason: str


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("POST", f"{ROOT}/containers/{{id}}/stop", stop)


async def stop(call: Call) -> web.StreamResponse:
    """POST /sampan/v1/containers/{id}/stop."""
    report = await call.workers.slow(
        call.engine.containers.stop,
        call.name,
        signal=call.text("signal"),
        timeout_s=call.whole("t"),
        now_if_unhandled=call.flag("nowIfUnhandled"),
    )
    return reply(
        StopAnswer(
            Signal=signal_name(report.signal),
            Killed=report.killed,
            WaitedMs=int(report.waited_s * 1000),
            Reason=report.reason,
        )
    )
