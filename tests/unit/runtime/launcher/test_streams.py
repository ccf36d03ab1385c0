"""Streams and clients over plain pipes and socket pairs: who waits for whom, and who never waits."""

import os
import select
import socket

import pytest

from sampan.runtime.launcher.loop import Loop
from sampan.runtime.launcher.messages import AttachRequest
from sampan.runtime.launcher.streams import Streams


class Stage:
    """Streams of a process that the test plays."""

    def __init__(self, *, stdin_once: bool = False) -> None:
        self.loop = Loop()
        self.left: list[tuple[str, str]] = []
        self.drained = False
        reader, self.stdout = os.pipe()
        self.stdin, writer = os.pipe()
        self.streams = Streams(
            self.loop,
            outputs={1: reader},
            stdin=writer,
            stdin_once=stdin_once,
            log=None,
            on_detached=lambda attach_id, reason: self.left.append((attach_id, reason)),
            on_drained=self.note_drained,
        )

    def note_drained(self) -> None:
        self.drained = True

    def attach(self, **options: object) -> socket.socket:
        user, shim = socket.socketpair()
        user.settimeout(5)
        fields = {"attach_id": "user", "framed": False, "stdin": True, **options}
        self.streams.attach(AttachRequest(fd=shim.detach(), **fields))
        return user

    def run(self) -> None:
        """Let the loop handle what there is: several looks, as the first may come late."""
        for _ in range(8):
            self.loop.call_later(0.003, self.loop.stop)
            self.loop.run()

    def close(self) -> None:
        for fd in (self.stdout, self.stdin):
            try:
                os.close(fd)
            except OSError:
                pass
        self.streams.process_ended()
        self.streams.finish_clients(0)
        self.run()


@pytest.fixture
def stage() -> object:
    made = Stage()
    yield made
    made.close()


def test_frames(stage: Stage) -> None:
    user = stage.attach(framed=True)
    os.write(stage.stdout, b"abc")
    stage.run()
    assert user.recv(100) == b"\x01\0\0\0\0\0\0\x03abc"
    user.close()


def test_a_held_client_gets_all_when_it_is_let_go(stage: Stage) -> None:
    user, shim = socket.socketpair()
    user.settimeout(5)
    held = stage.streams.hold(AttachRequest(fd=shim.detach(), attach_id="held", framed=False))
    other = stage.attach()
    os.write(stage.stdout, b"abc")
    stage.run()
    assert other.recv(100) == b"abc"
    assert select.select([user], [], [], 0)[0] == []
    held.let_go()
    stage.run()
    os.write(stage.stdout, b"def")
    stage.run()
    assert user.recv(100) == b"abcdef"
    user.close()
    other.close()


def test_a_held_client_outlasts_the_end_of_output_until_it_is_let_go(stage: Stage) -> None:
    user, shim = socket.socketpair()
    user.settimeout(5)
    held = stage.streams.hold(AttachRequest(fd=shim.detach(), attach_id="held", framed=False))
    stage.streams.finish_clients(0)
    stage.run()
    assert stage.left == []
    held.let_go()
    stage.run()
    assert user.recv(100) == b""
    assert stage.left == [("held", "eof")]
    user.close()


def test_a_held_client_is_dropped(stage: Stage) -> None:
    user, shim = socket.socketpair()
    user.settimeout(5)
    held = stage.streams.hold(AttachRequest(fd=shim.detach(), attach_id="held", framed=False))
    held.drop()
    assert user.recv(100) == b""
    assert stage.left == [("held", "gone")]
    user.close()


def test_input_and_its_end() -> None:
    stage = Stage(stdin_once=True)
    user = stage.attach()
    user.sendall(b"typed")
    user.shutdown(socket.SHUT_WR)
    stage.run()
    assert os.read(stage.stdin, 100) == b"typed"
    assert os.read(stage.stdin, 100) == b""
    os.write(stage.stdout, b"still")
    stage.run()
    assert user.recv(100) == b"still"
    assert stage.left == []
    user.close()
    stage.close()


def test_vanished_client_leaves_what_it_typed(stage: Stage) -> None:
    user = stage.attach()
    user.sendall(b"last words")
    user.close()
    stage.run()
    assert os.read(stage.stdin, 100) == b"last words"
    assert stage.left == [("user", "gone")]


def test_held_detach_key_is_typed_when_input_ends(stage: Stage) -> None:
    user = stage.attach(detach_keys=b"\x10\x11")
    user.sendall(b"x\x10")
    user.shutdown(socket.SHUT_WR)
    stage.run()
    assert os.read(stage.stdin, 100) == b"x\x10"
    user.close()


def test_slow_reader_stops_the_reading_and_a_vanished_one_frees_it(stage: Stage) -> None:
    user = stage.attach(stdin=False)
    os.set_blocking(stage.stdout, False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += os.write(stage.stdout, b"x" * 65536)
            stage.run()
            assert written < 8 << 20, "nobody stopped the writer"
    user.close()
    stage.run()
    assert os.write(stage.stdout, b"x" * 65536) > 0


def test_end_of_the_process_overrides_a_slow_reader(stage: Stage) -> None:
    user = stage.attach(stdin=False)
    os.set_blocking(stage.stdout, False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += os.write(stage.stdout, b"x" * 65536)
            stage.run()
    os.close(stage.stdout)
    stage.streams.process_ended()
    stage.run()
    assert stage.drained
    stage.streams.finish_clients(0)
    got = 0
    while got < written:
        stage.run()
        got += len(user.recv(1 << 20))
    stage.run()
    assert user.recv(1) == b""
    assert stage.left == [("user", "eof")]
    user.close()


def test_full_input_leaves_the_rest_with_the_client(stage: Stage) -> None:
    user = stage.attach()
    user.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while sent < 8 << 20:
            sent += user.send(b"y" * 65536)
            stage.run()
    got = 0
    while got < sent:
        got += len(os.read(stage.stdin, 1 << 20))
        stage.run()
    assert got == sent
    user.close()
