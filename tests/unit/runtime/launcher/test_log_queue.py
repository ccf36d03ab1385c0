"""The queue before a slow or absent log: who waits, what is dropped, and that the end comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import pytest

from sampan.runtime.launcher.log_queue import LogQueue, Stop
from sampan.runtime.launcher.log_writer import LogWriter
from sampan.runtime.launcher.loop import Loop

DEADLINE_S = 30


class Held:
    """A sink that takes nothing until it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.got: list[bytes] = []
        self.dropped_bytes = 0
        self.away = False
        self.stop = Stop()
        self.closed = False
        self.entered = threading.Event()

    def append(self, stream: str, at_ns: int, pieces: Iterable[bytes]) -> None:
        self.entered.set()
        while not self.may.wait(0.01):
            if self.stop.asked:
                return
        self.got += list(pieces)

    def clear(self) -> None:
        self.got.clear()

    def close(self) -> None:
        self.closed = True


def wait_for(condition: object, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_everything_arrives_in_order() -> None:
    sink = Held()
    sink.may.set()
    queue = LogQueue(sink, 1000, blocking=True)
    for number in range(500):
        queue.append("stdout", 0, [b"%d\n" % number])
    queue.close()
    assert sink.got == [b"%d\n" % number for number in range(500)]
    assert sink.closed
    assert queue.dropped_bytes == 0


@pytest.mark.parametrize("first", [5, 95], ids=["small", "nearly-all"])
def test_blocking_says_when_it_is_full_and_when_there_is_room(first: int) -> None:
    sink = Held()
    queue = LogQueue(sink, 100, blocking=True)
    log, loop, called = LogWriter([queue], [queue]), Loop(), []
    log.watch(loop, lambda: (called.append(log.full), loop.stop()))
    log.write("stdout", b"x" * first + b"\n")
    assert sink.entered.wait(DEADLINE_S)  # not full yet when the sink takes this one
    while not log.full:
        log.write("stdout", b"x" * 20 + b"\n")
    loop.call_later(0.05, loop.stop)
    loop.run()
    assert called == []
    sink.may.set()
    timer = loop.call_later(DEADLINE_S, loop.stop)
    loop.run()
    timer.cancel()
    assert called
    wait_for(lambda: not log.full)
    log.close()
    assert queue.dropped_bytes == 0


def test_not_blocking_drops_what_does_not_fit() -> None:
    sink = Held()
    queue = LogQueue(sink, 100, blocking=False)
    for number in range(50):
        queue.append("stdout", 0, [b"%09d\n" % number])
        assert not queue.full
    sink.may.set()
    queue.close()
    assert sink.got == [b"%09d\n" % number for number in range(10)]
    assert queue.dropped_bytes == 400


def test_one_that_is_away_holds_nobody_up() -> None:
    sink = Held()
    queue = LogQueue(sink, 100, blocking=True)
    while not queue.full:
        queue.append("stdout", 0, [b"x" * 30])
    sink.away = True
    sink.stop.on_change()
    assert not queue.full
    queue.append("stdout", 0, [b"dropped"])
    assert queue.dropped_bytes == 7
    sink.may.set()
    queue.close()


def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.runtime.launcher.log_queue._DRAIN_S", 0.1)
    sink = Held()
    queue = LogQueue(sink, 1000, blocking=True)
    queue.append("stdout", 0, [b"never"])
    begin = time.monotonic()
    queue.close()
    assert time.monotonic() - begin < 2


def test_clear_comes_after_what_was_written_before() -> None:
    sink = Held()
    sink.may.set()
    queue = LogQueue(sink, 1000, blocking=True)
    queue.append("stdout", 0, [b"old"])
    queue.clear()
    queue.append("stdout", 0, [b"new"])
    queue.close()
    assert sink.got == [b"new"]
