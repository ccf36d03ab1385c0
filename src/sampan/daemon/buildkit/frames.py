"""A shorter way for the many small messages of a context's listing: DATA frames that do not pass through h2.

h2 and grpclib take about 0.1 ms for a message, which is nothing for a call and seconds for 50,000 files. So
this stands before grpclib's protocol: the DATA frames of streams that asked for it go straight to them,
everything else (headers, settings, pings, other streams' data) goes on as it came, in order. Flow control:
what went the short way is given back at once, by WINDOW_UPDATEs of ours: h2 has not seen it and misses
nothing. Source: RFC 9113, 4.1, 6.1, 6.9; gRPC over HTTP2, "Length-Prefixed-Message".
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Final, TypeVar

from google.protobuf.message import Message
from grpclib.protocol import H2Protocol

M = TypeVar("M", bound=Message)

_HEAD: Final = 9  # length 3, type 1, flags 1, stream 4
_LARGEST: Final = 1 << 14  # what h2 tells the other side, by default
_DATA: Final = 0
_WINDOW_UPDATE: Final = 8
_PREFIX: Final = 5  # of a message: compressed? 1, length 4
_MOST: Final = 16 << 20

Feed = Callable[[memoryview], None]


class Splitter(asyncio.Protocol):
    """Stands between a connection and grpclib's protocol. lost: done when the connection is."""

    def __init__(self, inner: H2Protocol) -> None:
        self.inner = inner
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._feeds: dict[int, Feed] = {}
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def divert(self, stream_id: int, feed: Feed) -> None:
        """Give the data of a stream to feed, from its first frame on; it must not raise."""
        self._feeds[stream_id] = feed

    def restore(self, stream_id: int) -> None:
        """Let a stream's data go to grpclib again."""
        self._feeds.pop(stream_id, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.inner.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self.inner.connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.inner.resume_writing()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._feeds and not self._rest:
            whole = _whole(data)
            self._rest = data[whole:]
            self.inner.data_received(data[:whole] if self._rest else data)
            return
        self._split(self._rest + data)

    def _split(self, data: bytes) -> None:
        view = memoryview(data)
        taken: dict[int, int] = {}
        passed = at = 0
        while at + _HEAD <= len(data):
            length = int.from_bytes(view[at : at + 3])
            end = at + _HEAD + length
            if length > _LARGEST:
                end = len(data)  # a frame that may not be: h2 says so and ends the connection
            if end > len(data):
                break
            stream_id = int.from_bytes(view[at + 5 : at + _HEAD]) & 0x7FFFFFFF
            is_plain = data[at + 3] == _DATA and data[at + 4] == 0 and length <= _LARGEST
            feed = self._feeds.get(stream_id) if is_plain else None
            if feed is not None:
                if passed < at:
                    self.inner.data_received(data[passed:at])
                feed(view[at + _HEAD : end])
                taken[stream_id] = taken.get(stream_id, 0) + length
                passed = end
            at = end
        if passed < at:
            self.inner.data_received(data[passed:at])
        self._rest = data[at:]
        self._give_back(taken)

    def _give_back(self, taken: dict[int, int]) -> None:
        assert self._transport is not None  # data came
        total = sum(taken.values())
        if not total or self._transport.is_closing():
            return
        updates = {0: total, **taken}  # 0: the connection's own window
        frames = (
            struct.pack(">I", 4)[1:] + struct.pack(">BBII", _WINDOW_UPDATE, 0, stream_id, size)
            for stream_id, size in updates.items()
            if size
        )
        self._transport.write(b"".join(frames))


def _whole(data: bytes) -> int:
    """Return where the last whole frame of data ends."""
    at = 0
    while at + _HEAD <= len(data):
        length = int.from_bytes(data[at : at + 3])
        if length > _LARGEST:
            return len(data)
        if at + _HEAD + length > len(data):
            break
        at += _HEAD + length
    return at


class Messages:
    """Puts messages together from pieces of a stream and hands each on. error: what ended that."""

    def __init__(
        self, parse: Callable[[bytes], M], take: Callable[[M], None], failed: Callable[[], None]
    ) -> None:
        self._parse = parse
        self._take: Callable[[M], None] = take
        self._failed = failed
        self._buffer = b""
        self.error: Exception | None = None

    def feed(self, piece: memoryview) -> None:
        """Take the next piece; after an error nothing more is handed on."""
        if self.error is not None:
            return
        try:
            self._feed(self._buffer + piece if self._buffer else bytes(piece))
        except Exception as exc:
            self.error = exc
            self._failed()

    def _feed(self, data: bytes) -> None:
        at = 0
        while at + _PREFIX <= len(data):
            size = int.from_bytes(data[at + 1 : at + _PREFIX])
            if data[at] or size > _MOST:
                raise ValueError(f"a message of {size} bytes, compressed: {data[at]}")
            end = at + _PREFIX + size
            if end > len(data):
                break
            self._take(self._parse(data[at + _PREFIX : end]))
            at = end
        self._buffer = data[at:]
