"""Shims forked ahead: they wait at the launcher's own socket, so a start finds one ready. Lean.

The kernel gives each packet to one of the processes that read a socket. A spare that got one is a shim from
then on: it closes its bond to the launcher (a socket pair), which forks the next spare while nobody waits for
it. The other way round a bond that the launcher's death closed ends the spare.
"""

from __future__ import annotations

import os
import select

from sampan import log
from sampan.errors import SampanError, Unavailable
from sampan.kernel.sockets import close_all, from_fd, seqpacket_pair
from sampan.runtime.launcher.creating import fork_creator
from sampan.runtime.launcher.messages import error_document
from sampan.runtime.launcher.shim import become_shim, run_shim
from sampan.runtime.launcher.title import set_title
from sampan.runtime.launcher.transport import receive_body, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sampan.runtime.launcher.rehearsal import WarmUp

_COUNT = 2  # one serves while the other's successor is being forked
_FORK_RETRY_MS = 100
_QUIET_MS = 30  # for so long a start has the processors to itself, while another spare is ready


class Spares:
    """The spare shims of one launcher."""

    def __init__(self, sock: socket, title_area: tuple[int, int]) -> None:
        """sock: the connection that sampand's packets come by."""
        self._sock = sock
        self._title_area = title_area
        self.warm_up: WarmUp | None = None  # what a spare does before it waits
        self._bonds: dict[int, socket] = {}  # one to each spare that waits, by its descriptor
        self._poll = select.poll()
        self._poll.register(sock, 0)  # a hang-up is always reported

    def serve_waiting(self) -> bool:
        """Let a spare take what waits at the socket, if anything does; False when sampand has gone."""
        if not self._bonds and _has_packet(self._sock):
            self._fork()
        return not any(fd == self._sock.fileno() for fd, _ in self._poll.poll(0))

    def keep(self) -> None:
        """Keep spares ready until sampand closes its end of the socket."""
        wait_ms: int | None = 0
        while True:
            ended = [fd for fd, _ in self._poll.poll(wait_ms)]
            if self._sock.fileno() in ended:
                return
            for fd in ended:
                self._poll.unregister(fd)
                self._bonds.pop(fd).close()
            if ended and self._bonds:
                wait_ms = _QUIET_MS
            else:
                wait_ms = _FORK_RETRY_MS if self._fill() else None

    def _fill(self) -> bool:
        """Fork what is missing; return whether some still are."""
        while len(self._bonds) < _COUNT:
            try:
                self._fork()
            except OSError as exc:
                log.error("cannot fork a shim", why=exc.strerror)
                if not self._bonds:
                    self._refuse(f"cannot fork a shim: {exc.strerror}")
                return True
        return False

    def _fork(self) -> None:
        ours, theirs = seqpacket_pair()
        set_title(self._title_area, "sampan-spare")  # here, as in the spare it would cost 60 KiB
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            try:
                for bond in (ours, *self._bonds.values()):
                    bond.close()
                self._wait_and_run(theirs)
            finally:
                os._exit(0)
        set_title(self._title_area, "sampan-launcher")
        theirs.close()
        self._poll.register(ours, 0)
        self._bonds[ours.fileno()] = ours

    def _wait_and_run(self, bond: socket) -> None:
        """Be a spare, then a shim; returns when the shim may end."""
        become_shim()
        # When a container is waited for already, warming up would only make it later.
        warm_up = None if _has_packet(self._sock) else self.warm_up
        creator = fork_creator(None if warm_up is None else warm_up.creator)
        if warm_up is not None:
            warm_up.shim()
        packet = self._wait_for_packet(bond)
        if packet is None:
            return
        body, fds = packet
        self._sock.close()
        bond.close()
        run_shim(body, fds, creator=creator, title_area=self._title_area)

    def _wait_for_packet(self, bond: socket) -> tuple[bytes, list[int]] | None:
        """Return the packet that this spare got; None when launcher or sampand has gone."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(bond, select.POLLIN)  # nothing ever comes: only its end
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if bond.fileno() in ready:
                return None
            try:
                body, fds = receive_body(self._sock, shared=True)
            except BlockingIOError:
                continue  # another spare was faster
            except OSError as exc:
                log.error("a spare cannot receive", why=exc.strerror)
                return None
            return (body, fds) if body and fds else None

    def _refuse(self, why: str) -> None:
        """Answer the packet that waits, if there is one: nobody else will."""
        if not _has_packet(self._sock):
            return
        body, fds = receive_body(self._sock)
        if body and fds:
            _answer(fds[0], Unavailable(why))
        close_all(fds)


def _has_packet(sock: socket) -> bool:
    """Return whether a packet, or the end of the connection, waits."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _answer(fd: int, error: SampanError) -> None:
    connection = from_fd(os.dup(fd))
    try:
        send(connection, error_document(error))
    except OSError:
        pass  # sampand has given up
    finally:
        connection.close()
