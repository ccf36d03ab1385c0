"""The shim's part of a checker: to fork it, kill what it may not kill, end it with the container. Lean."""

from __future__ import annotations

import os

from sampan.errors import InvalidArgument, SampanError
from sampan.kernel.process import read_status, set_name
from sampan.runtime.handshake import encode_error
from sampan.runtime.launcher.loop import READABLE
from sampan.runtime.launcher.messages import unpack_exec
from sampan.runtime.launcher.probes import kill_group
from sampan.runtime.launcher.stdio import open_nothing
from sampan.runtime.launcher.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.runtime.launcher.control import Request
    from sampan.runtime.launcher.loop import Loop
    from sampan.runtime.launcher.messages import ExecStart
    from sampan.runtime.launcher.payload import Payload
    from sampan.runtime.launcher.worker import WorkerSide

_SIGKILL = 9


class Checkers:
    """The checkers of one container; there is one, or for a moment an old and a new one."""

    def __init__(self, loop: Loop, payload: Payload) -> None:
        self._loop = loop
        self._payload = payload
        self._workers: dict[int, Worker] = {}  # by pid, until they are reaped

    def start(self, request: Request) -> None:
        """Fork a checker that serves the socket which came with the request.

        Raises:
            InvalidArgument: there came none. OSError: fork is refused.
        """
        if len(request.fds) != 1:
            raise InvalidArgument("a checker needs one descriptor")
        order = unpack_exec(request.document.get("exec"), [])
        channel = request.fds[0]
        shim = os.getpid()
        worker = Worker(lambda side: self._work(order, channel, side, shim), keep=(channel,))
        self._workers[worker.pid] = worker
        self._loop.watch(worker.fd, READABLE, lambda _events: self._checker_says(worker))

    def _work(self, order: ExecStart, channel: int, side: WorkerSide, shim: int) -> None:
        """Become the checker; runs in the fork, and returns only if that fails."""
        set_name("sampan-checker")
        try:
            self._payload.become_checker(order, open_nothing(), channel, side.fd, parent=shim)
        except (OSError, SampanError) as exc:
            os.write(channel, encode_error(exc, "prepare"))

    def child_ended(self, pid: int) -> bool:
        """Take note of the end of a child, if it is a checker."""
        worker = self._workers.pop(pid, None)
        if worker is None:
            return False
        self._forget(worker)
        return True

    def close(self) -> None:
        """End them: they would hold the container's cgroup."""
        for pid in self._workers:
            os.kill(pid, _SIGKILL)  # our child, not reaped yet

    def _checker_says(self, worker: Worker) -> None:
        try:
            packet = worker.next_packet()
        except SampanError:
            packet = None
        pid = None if packet is None else packet[0].get("kill")
        if not isinstance(pid, int):
            self._forget(worker)
        elif _is_child(pid, worker.pid):  # what it may not kill for the ids that took, we may
            kill_group(pid)

    def _forget(self, worker: Worker) -> None:
        self._loop.forget(worker.fd)
        worker.close()


def _is_child(pid: int, parent: int) -> bool:
    try:
        return read_status(pid)["PPid"].strip() == str(parent)
    except OSError:
        return False
