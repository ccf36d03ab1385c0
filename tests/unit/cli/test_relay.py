"""Frames and detach keys, the parts of the relay that need no terminal."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cli.detach_keys import DetachKeys, parse_detach_keys
from sampan.cli.outcome import UsageError
from sampan.cli.relay import Ended, Relay, write_all
from sampan.client.frames import CREATED, END, STDERR, STDOUT, Frames
from sampan.client.session import Hijacked

KINDS = st.sampled_from([STDOUT, STDERR, CREATED, END])


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


@given(st.lists(st.tuples(KINDS, st.binary(max_size=40))), st.lists(st.integers(1, 30)))
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream, reader, seen = (
        b"".join(frame(kind, data) for kind, data in frames),
        Frames(),
        list[tuple[int, bytes]](),
    )
    while stream:
        size = cuts.pop() if cuts else len(stream)
        seen += reader.feed(stream[:size])
        stream = stream[size:]
    joined: list[tuple[int, bytes]] = []
    for kind, data in seen:
        if joined and joined[-1][0] == kind and kind <= STDERR:
            joined[-1] = (kind, joined[-1][1] + data)
        else:
            joined.append((kind, data))
    wanted: list[tuple[int, bytes]] = []
    for kind, data in frames:
        if not data:
            continue
        if wanted and wanted[-1][0] == kind and kind <= STDERR:
            wanted[-1] = (kind, wanted[-1][1] + data)
        else:
            wanted.append((kind, data))
    assert joined == wanted


def test_output_is_given_on_before_its_frame_is_complete() -> None:
    reader = Frames()
    assert list(reader.feed(frame(STDOUT, b"hello")[:10])) == [(STDOUT, b"he")]
    assert list(reader.feed(b"llo")) == [(STDOUT, b"llo")]


@pytest.mark.parametrize(
    ("pieces", "passed", "detached"),
    [
        pytest.param([b"ab"], b"ab", False, id="other keys"),
        pytest.param([b"\x10\x11"], b"", True, id="the sequence"),
        pytest.param([b"a\x10", b"\x11b"], b"a", True, id="in two pieces"),
        pytest.param([b"\x10x"], b"\x10x", False, id="a start that broke off"),
        pytest.param([b"\x10\x10\x11"], b"\x10", True, id="a start inside a start"),
        pytest.param([b"\x10"], b"", False, id="held back"),
    ],
)
def test_detach_keys(pieces: list[bytes], passed: bytes, detached: bool) -> None:
    keys, out, ended = DetachKeys(b"\x10\x11"), b"", False
    for piece in pieces:
        more, ended = keys.feed(piece)
        out += more
    assert (out, ended) == (passed, detached)


@given(st.text(alphabet="ab", min_size=1, max_size=4), st.text(alphabet="abc", max_size=30))
def test_detach_keys_find_exactly_the_first_occurrence(sequence: str, typed: str) -> None:
    keys, out, ended = DetachKeys(sequence.encode()), b"", False
    for letter in typed:
        more, ended = keys.feed(letter.encode())
        out += more
        if ended:
            break
    at = typed.find(sequence)
    assert ended == (at >= 0)
    if ended:
        assert out == typed[:at].encode()
    else:
        assert typed.encode().startswith(out)
        assert sequence.encode().startswith(typed.encode()[len(out) :])


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", b"\x10\x11"),
        ("ctrl-a,x", b"\x01x"),
        ("CTRL-@", b"\0"),
        ("ctrl-[,ctrl-_", b"\x1b\x1f"),
        ("q", b"q"),
    ],
)
def test_names_of_keys(text: str, want: bytes) -> None:
    assert parse_detach_keys(text) == want


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "xx", ",", "ctrl-aa", "é"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(UsageError, match="--detach-keys"):
        parse_detach_keys(text)


def _relay(stream: bytes, capfd: pytest.CaptureFixture[str]) -> tuple[Ended, str, str]:
    import _socket

    ours, theirs = _socket.socketpair()
    theirs.sendall(stream)
    theirs.shutdown(1)
    hijacked = Hijacked(sock=ours, early=b"", framed=True, headers={})
    ended = Relay(hijacked, stdin=False, framed=True).run()
    theirs.close()
    out, err = capfd.readouterr()
    return ended, out, err


def test_a_session_ends_with_its_last_frame(capfd: pytest.CaptureFixture[str]) -> None:
    stream = (
        frame(STDOUT, b"out")
        + frame(STDERR, b"err")
        + frame(END, b'{"StatusCode":3,"Error":"why","Hint":"so"}')
    )
    assert _relay(stream, capfd) == (Ended(reason="end", code=3, error="why", hint="so"), "out", "err")


def test_a_session_without_a_last_frame_is_told_apart(capfd: pytest.CaptureFixture[str]) -> None:
    assert _relay(frame(STDOUT, b"out"), capfd) == (Ended(reason="eof"), "out", "")


def test_an_error_of_the_daemon_in_the_stream(capfd: pytest.CaptureFixture[str]) -> None:
    assert _relay(frame(3, b"went wrong\n"), capfd)[0] == Ended(reason="eof", error="went wrong")


def test_writing_waits_for_a_full_pipe() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.set_blocking(reading, True)
        total = 0
        while piece := os.read(reading, 65536):
            total += len(piece)
        os._exit(0 if total == 1 << 20 else 1)
    os.close(reading)
    write_all(writing, bytes(1 << 20))
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
