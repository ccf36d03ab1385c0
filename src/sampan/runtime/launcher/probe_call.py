"""A health check that a shim, or a container's checker, runs, as sampand sees it. Lean."""

from __future__ import annotations

from _socket import MSG_NOSIGNAL, SHUT_RDWR

from sampan.errors import Unavailable
from sampan.kernel.sockets import close_all
from sampan.lean import record
from sampan.runtime.launcher.messages import raise_error
from sampan.runtime.launcher.probes import ASK
from sampan.runtime.launcher.transport import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.runtime.launcher.messages import Document


@record
class ProbeStarted:
    """A check's program runs."""

    pid: int


@record
class ProbeEnded:
    """A check has ended: its code as of an exec, what it wrote; timed_out: it was killed for its time-out."""

    code: int
    output: str
    timed_out: bool
    at_ns: int


class ProbeCall:
    """A check that a shim runs. `fd` is readable when `read` has something to return."""

    lasting = False

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        self.fd = sock.fileno()

    def read(self) -> ProbeStarted | ProbeEnded | None:
        """Return the next news, without waiting; None when there is none yet.

        Raises:
            Unavailable: the shim is gone, or `abandon` was called.
            SampanError: it could not be started; what the runtime said.
        """
        try:
            packet = receive(self._sock)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise Unavailable(f"the shim is gone: {exc.strerror}") from exc
        if packet is None:
            raise Unavailable("the shim ended without an answer")
        document, fds = packet
        close_all(fds)
        return self._unpack(document)

    def abandon(self) -> None:
        """Wait no longer: the next `read` raises. From any thread."""
        try:
            self._sock.shutdown(SHUT_RDWR)
        except OSError:
            pass  # the shim has gone

    def close(self) -> None:
        """Close the call; a check that runs is still ended by its time-out."""
        self._sock.close()

    def _unpack(self, document: Document) -> ProbeStarted | ProbeEnded | None:
        raise_error(document)
        return _unpack(document)


class CheckerCall(ProbeCall):
    """A checker: it runs its check once unasked, then as often as it is asked; `close` ends it."""

    lasting = True
    checker_pid = 0  # once it has told

    def again(self) -> None:
        """Have the check run once more; the last one has ended.

        Raises:
            OSError: the checker has gone.
        """
        self._sock.send(ASK, MSG_NOSIGNAL)

    def _unpack(self, document: Document) -> ProbeStarted | ProbeEnded | None:
        if "error" in document:
            raise Unavailable(f"the checker cannot work: {document.get('text')}")
        pid = document.get("checker")
        if isinstance(pid, int):
            self.checker_pid = pid
        return None if pid or "ready" in document else _unpack(document)


def _unpack(document: Document) -> ProbeStarted | ProbeEnded:
    """Return the news of a packet.

    Raises:
        Unavailable: it is of another version.
    """
    pid, code, at_ns = (document.get(name) for name in ("pid", "code", "at_ns"))
    if isinstance(pid, int):
        return ProbeStarted(pid=pid)
    if not isinstance(code, int) or not isinstance(at_ns, int):
        raise Unavailable("a shim of another version told of a check")
    return ProbeEnded(
        code=code,
        output=str(document.get("output")),
        timed_out=document.get("timed_out") is True,
        at_ns=at_ns,
    )
