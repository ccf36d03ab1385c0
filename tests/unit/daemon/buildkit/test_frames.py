"""HTTP/2 frames that are split: what goes where, however they are cut, and that windows are given back."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.daemon.buildkit import messages_pb2 as m
from sampan.daemon.buildkit.frames import Messages, Splitter

_DATA, _HEADERS, _WINDOW_UPDATE = 0, 1, 8
_END_STREAM = 1


def frame(kind: int, stream: int, body: bytes, flags: int = 0) -> bytes:
    return len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body


class Inner:
    """Stands in for grpclib's protocol."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: object) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.received += data


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False


def in_loop(work: Callable[[Splitter, Inner, Transport], None]) -> None:
    async def run() -> None:
        inner, transport = Inner(), Transport()
        splitter = Splitter(inner)  # type: ignore[arg-type]  # what of it is used
        splitter.connection_made(transport)
        work(splitter, inner, transport)

    asyncio.run(run())


@given(st.data())
def test_frames_go_their_ways_however_they_are_cut(data: st.DataObject) -> None:
    bodies = st.binary(max_size=40)
    kinds = st.sampled_from([(_DATA, 0), (_DATA, _END_STREAM), (_HEADERS, 4)])
    frames = data.draw(st.lists(st.tuples(kinds, st.sampled_from([1, 3, 5]), bodies), max_size=12))
    raw = b"".join(frame(kind, stream, body, flags) for (kind, flags), stream, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))

    def work(splitter: Splitter, inner: Inner, transport: Transport) -> None:
        seen = b""

        def feed(piece: memoryview) -> None:
            nonlocal seen
            seen += piece

        splitter.divert(3, feed)
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            splitter.data_received(raw[start:end])
        short = [body for kind, stream, body in frames if kind == (_DATA, 0) and stream == 3]
        rest = [one for one in frames if not (one[0] == (_DATA, 0) and one[1] == 3)]
        assert seen == b"".join(short)
        assert inner.received == b"".join(frame(k, s, b, f) for (k, f), s, b in rest)
        given_back = {0: 0, 3: 0}
        for at in range(0, len(transport.written), 13):
            one = transport.written[at : at + 13]
            assert one[:5] == b"\0\0\4" + bytes((_WINDOW_UPDATE, 0))
            stream, size = struct.unpack(">II", one[5:])
            given_back[stream] += size
        assert given_back == {0: len(seen), 3: len(seen)}

    in_loop(work)


def test_a_frame_that_may_not_be_is_left_to_h2() -> None:
    def work(splitter: Splitter, inner: Inner, transport: Transport) -> None:
        splitter.divert(3, lambda piece: pytest.fail("not to be taken"))
        raw = b"\xff\xff\xff" + struct.pack(">BBI", _DATA, 0, 3) + b"x"
        splitter.data_received(raw)
        assert inner.received == raw

    in_loop(work)


def test_restored_streams_go_the_long_way() -> None:
    def work(splitter: Splitter, inner: Inner, transport: Transport) -> None:
        splitter.divert(3, lambda piece: pytest.fail("not to be taken"))
        splitter.restore(3)
        raw = frame(_DATA, 3, b"x")
        splitter.data_received(raw[:4])
        splitter.data_received(raw[4:])
        assert inner.received == raw

    in_loop(work)


@given(st.lists(st.binary(max_size=30), max_size=10), st.lists(st.integers(0, 400), max_size=6))
def test_messages_however_they_are_cut(contents: list[bytes], places: list[int]) -> None:
    packets = [m.Packet(type=m.Packet.DATA, id=at, data=one) for at, one in enumerate(contents)]
    raw = b"".join(
        b"\0" + len(one).to_bytes(4, "big") + one
        for one in (packet.SerializeToString() for packet in packets)
    )
    found: list[m.Packet] = []
    messages = Messages(m.Packet.FromString, found.append, lambda: pytest.fail("no error"))
    cuts = sorted({min(place, len(raw)) for place in places})
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        messages.feed(memoryview(raw)[start:end])
    assert found == packets


@pytest.mark.parametrize("raw", [b"\1\0\0\0\0", b"\0\xff\xff\xff\xff", b"\0\0\0\0\1\xff"])
def test_what_is_no_message_ends_them(raw: bytes) -> None:
    told: list[bool] = []
    messages = Messages(m.Packet.FromString, lambda packet: None, lambda: told.append(True))
    messages.feed(memoryview(raw))
    messages.feed(memoryview(raw))
    assert messages.error is not None
    assert told == [True]
