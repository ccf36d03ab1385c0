"""A short-lived fork in which the runtime runs, so that a shim stays small and never waits. Lean.

What runs in a forked Python writes to the pages it touches, if only to count references, and so copies them.
Creating a container touches nearly everything: it made a shim 1.3 MiB larger for as long as it lived. Done in
a fork, it costs the shim nothing; init is made for the worker's parent (CLONE_PARENT), the shim.
"""

from __future__ import annotations

import os

from sampan.errors import SampanError
from sampan.kernel.process import close_range
from sampan.kernel.sockets import seqpacket_pair
from sampan.runtime.handshake import raise_child_error
from sampan.runtime.launcher.messages import error_document, raise_error
from sampan.runtime.launcher.transport import receive, send, send_body
from sampan.runtime.spawn import Placement, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from signal import set_wakeup_fd
    from typing import NoReturn

    from sampan.runtime.executing import Entry
    from sampan.runtime.launcher.messages import Document

else:
    from _signal import set_wakeup_fd


class WorkerSide:
    """The worker's end of the channel to its parent."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    @property
    def fd(self) -> int:
        """The channel's descriptor, for work that ends by execve."""
        return self._sock.fileno()

    def tell(self, document: Document, fds: Sequence[int] = ()) -> None:
        """Tell the parent something, with descriptors."""
        send(self._sock, document, fds)

    def receive(self) -> tuple[Document, list[int]] | None:
        """Wait for what the parent gives; None when it is gone."""
        return receive(self._sock)


class Worker:
    """A fork that does one piece of work and tells its parent by packets; whoever reaps, reaps it."""

    def __init__(
        self, work: Callable[[WorkerSide], None], *, keep: Sequence[int] = (), entry: Entry | None = None
    ) -> None:
        """Fork, and in the child run work(side), with no descriptors but 0, 1, 2 and keep.

        entry: be born there. `pid` is as the caller sees it.

        Raises:
            OSError: fork is refused. Conflict: the container of entry has ended.
        """
        self._sock, theirs = seqpacket_pair()
        self.fd = self._sock.fileno()
        try:
            if entry is None:
                self.pid = os.fork()
            else:
                self.pid = _fork_at(entry, lambda: _run(work, theirs, keep))
        except BaseException:
            self._sock.close()
            theirs.close()
            raise
        if self.pid == 0:
            _run(work, theirs, keep)
        theirs.close()

    def give(self, body: bytes, fds: Sequence[int]) -> None:
        """Give the worker a packet to work on. OSError: it is gone."""
        send_body(self._sock, body, fds)

    def receive(self) -> tuple[Document, list[int]]:
        """Wait for the worker's next packet.

        Raises:
            SampanError: what the work raised, or that the worker was killed.
        """
        packet = self.next_packet()
        if packet is None:
            raise SampanError("the runtime's process was killed")
        return packet

    def next_packet(self) -> tuple[Document, list[int]] | None:
        """Wait for the worker's next packet; None when its end is closed, by its death or by execve.

        Raises:
            SampanError: what the work raised, or a step of the runtime's child.
        """
        try:
            packet = receive(self._sock)
        except ConnectionResetError:
            return None
        if packet is not None:
            raise_error(packet[0])
            if "error" in packet[0]:
                raise_child_error(packet[0])
        return packet

    def close(self) -> None:
        """Give the channel up."""
        self._sock.close()


def _fork_at(entry: Entry, run: Callable[[], NoReturn]) -> int:
    pid, pidfd = spawn(Placement(new=0, join_pid=entry.init, cgroup_fd=entry.cgroup_fd, init=entry.init), run)
    os.close(pidfd)
    return pid


def _run(work: Callable[[WorkerSide], None], sock: socket, keep: Sequence[int]) -> NoReturn:
    """Run the child's side; it ends here, whatever happens."""
    try:
        set_wakeup_fd(-1)  # its pipe is the parent's, and closed below
        _keep_only((*keep, sock.fileno()))
        side = WorkerSide(sock)
        try:
            work(side)
        except Exception as exc:  # whatever it is, the parent waits for an answer
            side.tell(error_document(exc))
    finally:
        os._exit(0)


def _keep_only(fds: Sequence[int]) -> None:
    """Close every descriptor above 2 but these: a worker that hangs must hold nobody's connection open."""
    first = 3
    for fd in sorted(set(fds)):
        if fd > first:
            close_range(first, fd - 1)
        first = max(first, fd + 1)
    close_range(first)
