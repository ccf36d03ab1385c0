"""Talking to one process over a hijacked connection: input in, output collected."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sampan.client.frames import STDERR, SYSTEM_ERROR, Frames
from sampan.client.session import Hijacked
from sampan.errors import SampanError

_PIECE = 256 * 1024
_FRAMED = "application/vnd.docker.multiplexed-stream"
_RAW = "application/vnd.docker.raw-stream"


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of output: `stream` is "stdout" or "stderr"."""

    stream: str
    data: bytes


def exchange(stream: Hijacked, stdin: bytes, *, framed: bool) -> tuple[bytes, bytes]:
    """Send stdin and its end, and return standard output and error, read to their end.

    Both directions move at the same time, so a process that writes before it has read all blocks nobody.

    Raises:
        SampanError: the daemon reported an error in the stream.
    """
    with socket.socket(fileno=stream.sock.detach()) as sock:
        sock.setblocking(False)
        splitter = Splitter(framed=framed)
        found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        for piece in _pump(sock, stdin, stream.early):
            for output in splitter.feed(piece):
                found[output.stream].append(output.data)
    return b"".join(found["stdout"]), b"".join(found["stderr"])


def _pump(sock: socket.socket, stdin: bytes, early: bytes) -> Iterator[bytes]:
    if early:
        yield early
    left = memoryview(stdin)
    is_open = True
    poller = select.poll()
    while True:
        if is_open and not left:
            _half_close(sock)
            is_open = False
        poller.register(sock, select.POLLIN | (select.POLLOUT if is_open else 0))
        poller.poll()
        try:
            piece = sock.recv(_PIECE)
        except BlockingIOError:
            pass
        except ConnectionResetError:
            return
        else:
            if not piece:
                return
            yield piece
        try:
            left = left[sock.send(left[:_PIECE]) :] if is_open else left
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            is_open = False  # the process reads no more; its output still comes


def _half_close(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side was faster


def framing(headers: Mapping[str, str]) -> bool | None:
    """Tell whether a stream has frames; None when the daemon is too old to say (before API 1.42)."""
    return {_FRAMED: True, _RAW: False}.get(headers.get("content-type", ""))


class Splitter:
    """Takes the pieces of one stream apart, each given in turn. Without frames all is standard output."""

    def __init__(self, *, framed: bool) -> None:
        self._frames = Frames() if framed else None

    def feed(self, piece: bytes) -> Iterator[Output]:
        """Yield the output in piece.

        Raises:
            SampanError: the daemon reported an error in the stream.
        """
        if self._frames is None:
            yield Output("stdout", piece)
            return
        for kind, data in self._frames.feed(piece):
            if kind == SYSTEM_ERROR:
                raise SampanError(data.decode(errors="replace").strip())
            yield Output("stderr" if kind == STDERR else "stdout", data)
