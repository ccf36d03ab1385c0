"""Attach with logs and stream: each client gets every byte once, whenever it comes."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pytest
from tests.system.engine_kit import DEADLINE_S, Box, read_all, read_until, split_frames, wait_until

from sampan.spec import docker

_LINES = 12_000
# Writes halves of lines, so that some client joins in the middle of one, and to both streams.
_TALK = f"""
i=0
while [ $i -lt {_LINES} ]; do
    printf "out $i "; echo "line"
    [ $((i % 10)) = 0 ] && echo "err $i" >&2
    i=$((i+1))
done
printf unfinished
exec sleep 1000
"""
_STDOUT = b"".join(b"out %d line\n" % number for number in range(_LINES)) + b"unfinished"
_STDERR = b"".join(b"err %d\n" % number for number in range(0, _LINES, 10))
_ROTATING = {"max-size": "64k", "max-file": "1000"}


@pytest.fixture(scope="module")
def box(shared: Box) -> Box:
    return shared


class Reader(threading.Thread):
    """Attaches and reads to the end."""

    def __init__(self, box: Box, ref: str) -> None:
        super().__init__(name="reader")
        self.raw = b""
        self._box = box
        self._ref = ref
        self.attacher = threading.Thread(target=self._attach)
        self._mine, self._theirs = socket.socketpair()
        self._mine.settimeout(DEADLINE_S)

    def start(self) -> None:
        self.attacher.start()
        super().start()

    def run(self) -> None:
        with self._mine:
            self.raw = read_all(self._mine)
            self.attacher.join()

    def _attach(self) -> None:
        with self._theirs:
            attach(self._box, self._ref, self._theirs)


def attach(box: Box, ref: str, theirs: socket.socket, **options: Any) -> None:
    wanted = {"framed": True, "stdin": False, "stdout": True, "stderr": True, **options}
    box.engine.containers.attach(ref, fd=theirs.fileno(), logs=True, stream=True, **wanted)


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(docker.LogConfig(Config={}), id="json-file"),
        pytest.param(docker.LogConfig(Config=_ROTATING), id="json-file, rotated"),
        pytest.param(
            docker.LogConfig(Config={"mode": "non-blocking", "max-buffer-size": "64m"}), id="queued"
        ),
        pytest.param(docker.LogConfig(Type="local", Config={}), id="local"),
        pytest.param(docker.LogConfig(Type="local", Config=_ROTATING), id="local, rotated"),
    ],
)
def test_every_byte_once(box: Box, log: docker.LogConfig) -> None:
    started = box.start("sh", "-c", _TALK, host={"LogConfig": log})
    readers = []
    for tenth in range(10):
        wait_until(lambda due=tenth * _LINES // 10: _said(box, started) >= due, "it talks on")
        readers.append(Reader(box, started))
        readers[-1].start()
    for reader in readers:
        reader.attacher.join(DEADLINE_S)  # behind the log by now
    wait_until(lambda: b"out %d line" % (_LINES - 1) in box.log_text(started), "it has said all")
    box.engine.containers.kill(started)
    for reader in readers:
        reader.join(DEADLINE_S)
        stdout, stderr = split_frames(reader.raw)
        assert (stdout == _STDOUT, stderr == _STDERR) == (True, True), _difference(stdout, stderr)


def _said(box: Box, ref: str) -> int:
    """Return the number of a line that it has just said, -1 before the first."""
    numbers = [word for word in box.log_text(ref, tail=20).split() if word.isdigit()]
    return int(numbers[-1]) if numbers else -1


def _difference(stdout: bytes, stderr: bytes) -> str:
    for got, want in ((stdout, _STDOUT), (stderr, _STDERR)):
        for number, (one, other) in enumerate(zip(got.splitlines(), want.splitlines(), strict=False)):
            if one != other:
                return f"line {number}: {one!r} instead of {other!r}"
    return f"{len(stdout)} of {len(_STDOUT)}, {len(stderr)} of {len(_STDERR)} bytes"


def test_a_container_that_ends_during_the_replay_ends_the_stream(box: Box) -> None:
    started = box.start("sh", "-c", "seq 1 200000; exec sleep 1000")
    wait_until(lambda: b"200000\n" in box.log_text(started, tail=1), "it has spoken")
    reader = Reader(box, started)
    reader.attacher.start()  # and nobody reads yet: the replay waits
    box.engine.containers.kill(started)
    wait_until(lambda: not box.state(started).Running, "it has ended")
    threading.Thread.start(reader)
    reader.join(DEADLINE_S)
    assert split_frames(reader.raw) == (b"".join(b"%d\n" % number for number in range(1, 200001)), b"")


def test_an_unfinished_line_is_not_forgotten(box: Box) -> None:
    started = box.start("sh", "-c", "echo whole; printf half; read x; echo; exec sleep 1000", OpenStdin=True)
    wait_until(lambda: b"whole" in box.log_text(started), "it has spoken")
    mine, theirs = socket.socketpair()
    mine.settimeout(DEADLINE_S)
    with mine, theirs:
        attach(box, started, theirs, framed=False, stdin=True)
        assert read_until(mine, b"half") == b"whole\nhalf"
        mine.sendall(b"on\n")
        assert read_until(mine, b"\n") == b"\n"
    box.engine.containers.kill(started)


def test_who_does_not_read_keeps_nobody_from_ending(box: Box) -> None:
    started = box.start("sh", "-c", "seq 1 100000; read x; seq 1 1000", OpenStdin=True)
    wait_until(lambda: b"100000\n" in box.log_text(started, tail=1), "it has spoken")
    mine, theirs = socket.socketpair()
    with mine, theirs:

        def run() -> None:
            with contextlib.suppress(ConnectionError):
                attach(box, started, theirs)

        attacher = threading.Thread(target=run)
        attacher.start()
        box.engine.containers.stop(started, timeout_s=0)
        assert box.state(started).Status == "exited"
        mine.close()
        attacher.join(DEADLINE_S)
    assert not attacher.is_alive()
