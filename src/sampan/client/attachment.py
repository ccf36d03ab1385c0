"""A live connection to a process: its input, and its output as it comes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import TracebackType

from sampan.client.session import Hijacked
from sampan.client.streams import Output, Splitter


class Attachment:
    """Standard input and output of a process in a container, to be closed (a `with` block does).

    One thread may write while another reads. A process that writes much while nobody reads waits.
    """

    def __init__(self, stream: Hijacked, *, framed: bool) -> None:
        self._sock = socket.socket(fileno=stream.sock.detach())
        self._early = stream.early
        self._split = Splitter(framed=framed)

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Output]:
        """Yield output as it comes, to the end of the process or of the connection."""
        while piece := self.read_some():
            yield from self._split.feed(piece)

    def split(self, piece: bytes) -> list[Output]:
        """Take a piece apart that `read_some` gave."""
        return list(self._split.feed(piece))

    def read_some(self) -> bytes:
        """Return the next raw piece of output, and nothing at the end."""
        early, self._early = self._early, b""
        try:
            return early or self._sock.recv(256 * 1024)
        except ConnectionResetError:
            return b""

    def read_all(self) -> tuple[bytes, bytes]:
        """Return all that is left of standard output and error."""
        pieces = list(self)
        out, err = ([one.data for one in pieces if one.stream == name] for name in ("stdout", "stderr"))
        return b"".join(out), b"".join(err)

    def write(self, data: bytes) -> None:
        """Send input.

        Raises:
            BrokenPipeError: the process, or the connection, has ended.
        """
        self._sock.sendall(data)

    def close_stdin(self) -> None:
        """Tell the process that its input has ended; output goes on."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side was faster

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._sock.fileno()

    def abort(self) -> None:
        """Make a read that another thread waits in return at once."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster

    def close(self) -> None:
        """Leave the process alone; it goes on."""
        self._sock.close()
