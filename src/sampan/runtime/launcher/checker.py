"""A checker: a process that stands ready in a container and runs its health check again and again. Lean.

It has joined the container for good (namespaces, cgroup, ids, capabilities, seccomp), so a check costs what
its program costs: posix_spawn(3) copies no page. The pid namespace has only the programs it starts, not the
checker: nothing inside sees, signals or traces it. Besides 0, 1 and 2 it holds sockets and a pipe,
close-on-exec. Chart: docs/restarts-and-health.md.
"""

from __future__ import annotations

import errno
import os
import select
import time

from sampan import fastjson
from sampan.errors import SampanError
from sampan.kernel import process
from sampan.runtime import program
from sampan.runtime.launcher.probes import ASK, Capture, kill_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sampan.runtime.launcher.messages import Document, ExecStart
    from sampan.runtime.program import Program
    from sampan.runtime.steps import Child

_SLOW_S = 0.02  # of a check that takes longer the asker is told that it runs
_DRAIN_S = 2.0  # as Docker: how long output of a program's own children is waited for after its end
_CHUNK = 65536
# Of the checker, not of the check's program: the plain way may still work.
_OURS = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EPERM, errno.ENOSYS))


def serve_checks(child: Child, wanted: Program, order: ExecStart) -> NoReturn:
    """Run the check at once, then whenever it is asked for; ends with the asker. Never returns.

    Raises:
        OSError: the checker cannot work here, for example for a limit of the container's.
    """
    process.set_dumpable(False)  # a change of ids has set it anew
    os.write(child.channel.fd, fastjson.dumps({"checker": os.getpid()}).encode())
    while True:
        try:
            program.enter_cwd(child, wanted)
            if child.cwd_pending:
                raise SampanError(f"cannot enter the working directory {os.fsdecode(wanted.cwd)!r}")
            answer = _Run(child, wanted, order).finish()
        except SampanError as exc:
            answer = _result(-1, str(exc), timed_out=False)
        os.write(child.channel.fd, fastjson.dumps(answer).encode())
        if os.read(child.channel.fd, len(ASK)) != ASK:
            os._exit(0)


def _result(code: int, output: str, *, timed_out: bool) -> Document:
    return {"code": code, "output": output, "timed_out": timed_out, "at_ns": time.time_ns()}


class _Run:
    """One run of the check, from its start to its result."""

    def __init__(self, child: Child, wanted: Program, order: ExecStart) -> None:
        """Start the program.

        Raises:
            SampanError: it cannot be started. OSError: we cannot start any.
        """
        self._child = child
        self._capture = Capture(order.capture)
        self._deadline = time.monotonic() + order.timeout_s
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = _spawn(child.program_path, wanted, writer)
            self._pidfd = os.pidfd_open(self._pid)
        except BaseException:
            os.close(self._reader)
            raise
        finally:
            os.close(writer)
        self._poll = select.poll()
        self._poll.register(child.channel.fd, 0)  # only its end
        self._poll.register(self._reader, select.POLLIN)
        self._poll.register(self._pidfd, select.POLLIN)
        self._is_open = True
        self._told = self._timed_out = False
        self._code: int | None = None

    def finish(self) -> Document:
        """Wait for the end of the program and of its output, or for the time-out, which kills it."""
        while self._is_open or self._code is None:
            ready = self._poll.poll(max(0, self._wait_until() - time.monotonic()) * 1000 + 1)
            for fd, _ in ready:
                self._on_ready(fd)
            if not ready:
                self._on_silence()
        assert self._code is not None
        return _result(self._code, self._capture.text(), timed_out=self._timed_out)

    def _wait_until(self) -> float:
        if self._told or self._code is not None:
            return self._deadline
        return min(self._deadline, time.monotonic() + _SLOW_S)

    def _on_ready(self, fd: int) -> None:
        if fd == self._reader:
            self._read()
        elif fd == self._pidfd:
            self._reap()
        else:  # whoever asked is gone
            self._kill()
            os._exit(0)

    def _on_silence(self) -> None:
        if self._code is not None:
            self._close_reader()  # held open by a child of the program's
        elif time.monotonic() < self._deadline:
            self._told = True
            os.write(self._child.channel.fd, fastjson.dumps({"pid": self._pid}).encode())
        else:
            self._timed_out = True
            self._kill()
            self._deadline += _DRAIN_S

    def _read(self) -> None:
        data = os.read(self._reader, _CHUNK)
        if data:
            self._capture.write("", data)
        else:
            self._close_reader()

    def _close_reader(self) -> None:
        self._is_open = False
        self._poll.unregister(self._reader)
        os.close(self._reader)

    def _reap(self) -> None:
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        assert result is not None  # only with WNOHANG
        killed = result.si_code != os.CLD_EXITED
        self._code = 128 + result.si_status if killed else result.si_status
        self._poll.unregister(self._pidfd)
        os.close(self._pidfd)
        self._deadline = time.monotonic() + _DRAIN_S

    def _kill(self) -> None:
        """Kill the program; one that has become another user is the shim's to kill."""
        try:
            kill_group(self._pid)
        except PermissionError:
            os.write(self._child.error_fd, fastjson.dumps({"kill": self._pid}).encode())


def _spawn(path: bytes, wanted: Program, writer: int) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
    try:
        return os.posix_spawn(path, wanted.argv, wanted.env, file_actions=actions, setsid=True)
    except OSError as exc:
        if exc.errno in _OURS:
            raise
        raise program.explain_exec(path, exc) from exc
