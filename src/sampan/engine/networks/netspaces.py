"""Network namespaces kept ready, so that a start does not wait for the kernel to make one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sampan import log
from sampan.engine.lifecycle.launchers import LauncherKeeper
from sampan.engine.workers import Worker
from sampan.errors import SampanError
from sampan.kernel.sockets import close_all, from_fd

_READY = 4  # each is some 50 KiB of the kernel's
_QUIET_S = 0.05  # for so long the start that took one has the processors to itself, while others are ready
NO_SYSCTLS: Final[Mapping[str, str]] = MappingProxyType({})
WITH_IPV6: Final[Mapping[str, str]] = MappingProxyType({"net/ipv6/conf/default/disable_ipv6": "0"})


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
    """Ready namespaces; any thread may call. None is made before the first one of its kind is asked for."""

    def __init__(self, launchers: LauncherKeeper) -> None:
        self._launchers = launchers
        self._lock = threading.Lock()
        self._hurry = threading.Event()  # none is ready any more
        self._ready: dict[bool, list[Netspace]] = {False: [], True: []}  # with IPv6, or without
        self._worker = Worker("netspace")
        self._refilling: set[bool] = set()

    def take(self, *, ipv6: bool) -> Netspace:
        """Return a namespace whose interfaces will have IPv6 or not; the caller closes it.

        Raises:
            SampanError: none can be made.
        """
        found = self.take_ready(ipv6=ipv6)
        return found if found is not None else self._make(1, ipv6)[0]

    def take_ready(self, *, ipv6: bool = False) -> Netspace | None:
        """Return a namespace if one is ready; the caller closes it."""
        with self._lock:
            ready = self._ready[ipv6]
            found = ready.pop() if ready else None
            refill = len(ready) <= _READY // 2 and ipv6 not in self._refilling
            if refill:
                self._refilling.add(ipv6)
                self._hurry.clear()
            if not ready:
                self._hurry.set()
        if refill:
            self._worker.submit(lambda: self._refill(ipv6))
        return found

    @property
    def ready(self) -> int:
        """How many stand ready; each has two descriptors."""
        return sum(map(len, self._ready.values()))

    def settle(self, timeout_s: float) -> bool:
        """Wait until none is being made."""
        return self._worker.drain(timeout_s)

    def enter(self, fd: int, sysctls: Mapping[str, str] = NO_SYSCTLS) -> Netspace:
        """Return a running container's namespace, for changes in it; the caller closes it.

        sysctls: what to set there first, by path below /proc/sys.
        """
        return Netspace(*self._launchers.enter_netspace(fd, sysctls))

    def _make(self, count: int, ipv6: bool) -> list[Netspace]:
        fds = self._launchers.make_netspaces(count, WITH_IPV6 if ipv6 else NO_SYSCTLS)
        if len(fds) != 2 * count:
            close_all(fds)
            raise SampanError("the launcher made another number of network namespaces")
        return [Netspace(*fds[place : place + 2]) for place in range(0, len(fds), 2)]

    def _refill(self, ipv6: bool) -> None:
        self._hurry.wait(_QUIET_S)
        try:
            more = self._make(_READY, ipv6)
        except (OSError, SampanError) as exc:
            log.warning("no network namespaces kept ready", reason=exc)
            more = []
        with self._lock:
            self._ready[ipv6] += more
            self._refilling.discard(ipv6)

    def close(self) -> None:
        """Let the ready ones go."""
        self._hurry.set()
        self._worker.close(1.0)
        for ready in self._ready.values():
            while ready:
                ready.pop().close()
