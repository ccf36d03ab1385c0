"""The loop: events, timers, and descriptors that change hands within one batch."""

import os

from sampan.runtime.launcher.loop import READABLE, Loop


def test_timer_fires_once_and_not_when_cancelled() -> None:
    loop, seen = Loop(), []
    loop.call_later(0.0, lambda: seen.append("first"))
    loop.call_later(0.0, lambda: seen.append("cancelled")).cancel()
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert seen == ["first"]


def test_reads_what_comes() -> None:
    loop, seen = Loop(), []
    reader, writer = os.pipe()

    def on_event(_events: int) -> None:
        seen.append(os.read(reader, 10))
        loop.forget(reader)
        loop.stop()

    loop.watch(reader, READABLE, on_event)
    os.write(writer, b"x")
    loop.run()
    os.close(reader)
    os.close(writer)
    assert seen == [b"x"]


def test_event_for_a_reused_descriptor_is_dropped() -> None:
    loop, seen = Loop(), []
    pipes = [os.pipe(), os.pipe()]
    readers = [reader for reader, _ in pipes]
    fresh = os.pipe()

    def replace_other(mine: int) -> None:
        other = readers[1 - readers.index(mine)]
        loop.forget(mine)
        loop.forget(other)
        os.dup2(fresh[0], other)  # the number now names another pipe, which is empty
        loop.watch(other, READABLE, lambda _events: seen.append("stale"))
        loop.stop()

    for reader, writer in pipes:
        loop.watch(reader, READABLE, lambda _events, mine=reader: replace_other(mine))
        os.write(writer, b"x")
    loop.run()
    for fd in {*fresh, *(fd for pipe in pipes for fd in pipe)}:
        os.close(fd)
    assert seen == []
