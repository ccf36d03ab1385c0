"""Network namespaces kept ready, so that a start does not wait for the kernel to make one."""

from __future__ import annotations

import os
import threading

from sampan import log
from sampan.engine.launchers import LauncherKeeper
from sampan.engine.workers import Worker
from sampan.errors import SampanError
from sampan.kernel.sockets import close_all, from_fd

_READY = 4  # each is some 50 KiB of the kernel's


class Netspace:
    """A network namespace of sampand's to give away; close it once a container is in it."""

    def __init__(self, fd: int, socket_fd: int) -> None:
        self.fd = fd
        self.socket = from_fd(socket_fd)

    @property
    def path(self) -> str:
        """Where the runtime finds it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let it go: it lives on in who joined it."""
        self.socket.close()
        os.close(self.fd)


class Netspaces:
    """Ready namespaces; any thread may call. None is made before the first one is asked for."""

    def __init__(self, launchers: LauncherKeeper) -> None:
        self._launchers = launchers
        self._lock = threading.Lock()
        self._ready: list[Netspace] = []
        self._worker = Worker("netspace")
        self._refilling = False

    def take(self) -> Netspace:
        """Return a namespace; the caller closes it.

        Raises:
            SampanError: none can be made.
        """
        found = self.take_ready()
        return found if found is not None else self._make(1)[0]

    def take_ready(self) -> Netspace | None:
        """Return a namespace if one is ready; the caller closes it."""
        with self._lock:
            found = self._ready.pop() if self._ready else None
            refill = len(self._ready) <= _READY // 2 and not self._refilling
            self._refilling = self._refilling or refill
        if refill:
            self._worker.submit(self._refill)
        return found

    def enter(self, fd: int) -> Netspace:
        """Return a running container's namespace, for changes in it; the caller closes it."""
        return Netspace(*self._launchers.enter_netspace(fd))

    def _make(self, count: int) -> list[Netspace]:
        fds = self._launchers.make_netspaces(count)
        if len(fds) != 2 * count:
            close_all(fds)
            raise SampanError("the launcher made another number of network namespaces")
        return [Netspace(*fds[place : place + 2]) for place in range(0, len(fds), 2)]

    def _refill(self) -> None:
        try:
            more = self._make(_READY)
        except (OSError, SampanError) as exc:
            log.warning("no network namespaces kept ready", reason=exc)
            more = []
        with self._lock:
            self._ready += more
            self._refilling = False

    def close(self) -> None:
        """Let the ready ones go."""
        self._worker.close(1.0)
        while self._ready:
            self._ready.pop().close()
