"""Keep a launcher alive: one is spawned at the start, and another when it has died."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from sampan import log
from sampan.engine.supervisor import Last, Supervisor
from sampan.errors import Unavailable
from sampan.runtime.launcher.client import AttachRequest, Launcher, ShimHandle, ShimRequest, ViewRequest
from sampan.settings import Roots

_DEATH_S = 0.5  # a launcher that is killed takes its spares along, then its socket ends


class LauncherKeeper:
    """Starts containers; any thread may call. A launcher that died is replaced before the next start."""

    def __init__(self, roots: Roots, *, rehearsal: str = "") -> None:
        """rehearsal: of `Launcher.spawn`."""
        self._roots = roots
        self._rehearsal = rehearsal
        self._lock = threading.Lock()
        self._launcher = self._spawn()
        self._supervisor: Supervisor | None = None
        self._dead: list[Launcher] = []

    @property
    def pid(self) -> int:
        """The launcher's process."""
        return self._launcher.pid

    def start(self, request: ShimRequest, attaches: Sequence[AttachRequest]) -> ShimHandle:
        """Start a container; see `Launcher.start`. A launcher that dies meanwhile is replaced once."""
        launcher = self._alive()
        try:
            return launcher.start(request, attaches)
        except Unavailable:
            if not launcher.ends_within(_DEATH_S):
                raise
            return self._alive().start(request, attaches)

    def open_view(self, request: ViewRequest, namespace_fd: int = -1) -> list[int]:
        """Open a container's root; see `Launcher.open_view`. A launcher that dies is replaced once."""
        launcher = self._alive()
        try:
            return launcher.open_view(request, namespace_fd)
        except Unavailable:
            if launcher.alive():
                raise
            return self._alive().open_view(request, namespace_fd)

    def make_netspaces(self, count: int, sysctls: Mapping[str, str]) -> list[int]:
        """Make network namespaces; see `Launcher.make_netspaces`. A launcher that dies is replaced once."""
        launcher = self._alive()
        try:
            return launcher.make_netspaces(count, sysctls=sysctls)
        except Unavailable:
            if launcher.alive():
                raise
            return self._alive().make_netspaces(count, sysctls=sysctls)

    def enter_netspace(self, fd: int, sysctls: Mapping[str, str]) -> list[int]:
        """Return a socket in a container's network namespace; see `Launcher.enter_netspace`."""
        return self._alive().enter_netspace(fd, sysctls=sysctls)

    def watch(self, supervisor: Supervisor) -> None:
        """Replace the launcher as soon as it dies, so that the next start need not wait for another."""
        launcher = self._launcher

        def died() -> Last | None:
            return None if launcher.alive() else self._replace_and_watch

        self._supervisor = supervisor
        supervisor.watch(launcher.fd, died)

    def _replace_and_watch(self) -> None:
        """Run by the supervisor, which watches the dead one no more: now its descriptor may be closed."""
        self._alive()
        for launcher in self._take_dead():
            launcher.close()
        if self._supervisor is not None:
            self.watch(self._supervisor)

    def _take_dead(self) -> list[Launcher]:
        with self._lock:
            dead, self._dead = self._dead, []
        return dead

    def close(self) -> None:
        """End the launcher; shims live on."""
        for launcher in (*self._take_dead(), self._launcher):
            launcher.close()

    def _alive(self) -> Launcher:
        with self._lock:
            if not self._launcher.alive():
                log.warning("launcher died, starting another", pid=self._launcher.pid)
                dead, self._launcher = self._launcher, self._spawn()
                self._dead.append(dead)
            return self._launcher

    def _spawn(self) -> Launcher:
        try:
            return Launcher.spawn(run_root=self._roots.run, rehearsal=self._rehearsal)
        except OSError as exc:
            raise Unavailable(f"cannot start the launcher: {exc}") from exc
