"""Talking to one process over a hijacked connection: input in, output collected."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sampan.client.frames import STDERR, SYSTEM_ERROR, Frames
from sampan.client.http import Response
from sampan.client.session import Hijacked
from sampan.errors import SampanError

_PIECE = 256 * 1024
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
        frames = Frames() if framed else None
        found: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        for piece in _pump(sock, stdin, stream.early):
            for output in _split(piece, frames):
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


def read_output(response: Response) -> Iterator[Output]:
    """Yield the output in an answer of `/logs` as it comes."""
    split = split_output(response)
    while piece := response.read_some():
        yield from split(piece)


def split_output(response: Response) -> Callable[[bytes], Iterator[Output]]:
    """Return what takes the pieces of an answer of `/logs` apart, to be called with each in turn."""
    framed = response.headers.get("content-type", "") != _RAW
    frames = Frames() if framed else None
    return lambda piece: _split(piece, frames)


def _split(piece: bytes, frames: Frames | None) -> Iterator[Output]:
    if frames is None:
        yield Output("stdout", piece)
        return
    for kind, data in frames.feed(piece):
        if kind == SYSTEM_ERROR:
            raise SampanError(data.decode(errors="replace").strip())
        yield Output("stderr" if kind == STDERR else "stdout", data)
