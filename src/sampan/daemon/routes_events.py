"""GET /events. Lines go straight to the connections of all readers (docs/observing.md, "Events").

A task that is woken for each event and reader costs 20 µs each, so a hundred readers held up everything for
2 ms an event. Here an event is encoded once, and written to each connection in one turn of the loop.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import HttpVersion11, web
from msgspec import UNSET

from sampan.daemon.call import Call, encode_line
from sampan.daemon.parameters import parse_moment_ns
from sampan.daemon.routing import Router
from sampan.daemon.streaming import end_stream, error_line, open_stream
from sampan.daemon.workers import take
from sampan.errors import Unavailable
from sampan.spec import docker

if TYPE_CHECKING:
    from asyncio import Transport

LIMIT_BYTES: Final = 4 * 1024 * 1024  # that wait for a reader who does not read


def add_routes(router: Router) -> None:
    """Add this module's routes."""
    router.add("GET", "/events", EventStreams().stream)


def event_line(event: docker.Event) -> bytes:
    """Return an event as a line, with the fields that clients of API < 1.52 read; old ones crash without."""
    if event.Type in ("container", "image"):
        image = event.Actor.Attributes.get("image") if event.Type == "container" else None
        event = msgspec.structs.replace(
            event, status=event.Action, id=event.Actor.ID or UNSET, from_=UNSET if image is None else image
        )
    return encode_line(event)


class EventStreams:
    """Every reader of events of one door; keeps the line of the event that is being given out."""

    def __init__(self) -> None:
        self._event: docker.Event | None = None
        self._line = b""

    def line(self, event: docker.Event) -> bytes:
        """Return an event's line; made once, as one event goes to all readers before the next one."""
        if self._event is not event:
            self._event, self._line = event, event_line(event)
        return self._line

    async def stream(self, call: Call) -> web.StreamResponse:
        """GET /events: headers at once, then an object for each event."""
        since, until = call.text("since"), call.text("until")
        since_ns = parse_moment_ns(since, name="since") if since else 0 if until else None
        until_ns = parse_moment_ns(until, name="until") if until else 0
        reader = _Reader(self)
        subscription = await take(
            call.workers.quick(
                call.engine.events.subscribe,
                lambda event: call.post.call(reader.put, event),
                since_ns=since_ns,
                until_ns=until_ns or None,
                filters=call.filters(),
            ),
            release=lambda made: made.cancel(),
        )
        try:
            response = await open_stream(call)
            transport = call.request.transport
            if transport is None:
                raise ConnectionResetError("the client has gone")
            reader.start(transport, chunked=call.request.version >= HttpVersion11)
            delay = max(0.0, until_ns / 1e9 - time.time()) if until_ns else None
            try:
                async with asyncio.timeout(delay):
                    await reader.overrun.wait()
                subscription.cancel()
                await response.write(error_line(_too_slow()))
            except TimeoutError:
                pass  # until has come
            return await end_stream(response)
        finally:
            subscription.cancel()


def _too_slow() -> Unavailable:
    return Unavailable(
        f"the client left {LIMIT_BYTES >> 20} MiB of events unread", hint="ask again, with since"
    )


class _Reader:
    """One reader; `put` is called in the loop, also before the head of the answer was sent."""

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams
        self._early: list[docker.Event] = []
        self._transport: Transport | None = None
        self._chunked = True
        self.overrun = asyncio.Event()

    def start(self, transport: Transport, *, chunked: bool) -> None:
        """Send what has come so far, and everything from now on at once."""
        self._transport, self._chunked = transport, chunked
        early, self._early = self._early, []
        for event in early:
            self.put(event)

    def put(self, event: docker.Event) -> None:
        """Send an event, unless too much waits for the reader already: then `overrun` is set."""
        transport = self._transport
        if transport is None:
            self._early.append(event)
        elif transport.get_write_buffer_size() > LIMIT_BYTES:
            self.overrun.set()
        elif not (self.overrun.is_set() or transport.is_closing()):
            line = self._streams.line(event)
            transport.write(b"%x\r\n%s\r\n" % (len(line), line) if self._chunked else line)
