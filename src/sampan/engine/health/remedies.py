"""What follows when a container becomes unhealthy, beyond Docker: kill, stop or restart it."""

from __future__ import annotations

from sampan import log
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.health.checks import Remedy
from sampan.engine.lifecycle.stopping import Stopper
from sampan.errors import Conflict, NotModified


class Remedies:
    """Applies remedies in a pool of threads: a stop waits for its container."""

    def __init__(self, core: Core, stopper: Stopper) -> None:
        self._core = core
        self._stopper = stopper

    def apply(self, container: Container, remedy: Remedy) -> None:
        """Begin what a container's check asks for."""
        if remedy != "none":
            self._core.remedies.submit(lambda: self._apply(container, remedy))

    def _apply(self, container: Container, remedy: Remedy) -> None:
        log.warning("container is unhealthy", container=container.id, remedy=remedy)
        try:
            match remedy:
                case "kill":
                    self._stopper.kill_unhealthy(container)
                case "stop":
                    self._stopper.stop(container)
                case "restart":
                    self._stopper.restart(container, by_itself=True)
                case "none":
                    pass
        except (Conflict, NotModified) as exc:  # a user was faster
            log.info("remedy is not needed", container=container.id, reason=exc)
