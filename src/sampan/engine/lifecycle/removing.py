"""Remove a container, by force or not. Prune is in `pruning`."""

from __future__ import annotations

from contextlib import suppress

from sampan.engine.container import Container
from sampan.engine.lifecycle.ending import Ender
from sampan.engine.lifecycle.stopping import Stopper
from sampan.errors import Conflict

_ATTEMPTS = 5


def remove_container(
    container: Container,
    ender: Ender,
    stopper: Stopper,
    *,
    force: bool,
    volumes: bool,
    ref: str,
) -> None:
    """See `Containers.remove`.

    Raises:
        Conflict: it runs and force is not set; in Docker's words.
    """
    for _ in range(_ATTEMPTS if force else 0):
        if container.active:
            with suppress(Conflict):  # it has just ended by itself
                stopper.kill(container, signal="KILL", ref=ref)
        if container.removed:
            return  # AutoRemove was faster
        try:
            ender.remove(container, volumes=volumes)
            return
        except Conflict:
            continue  # somebody has just started it, or removes it too
    ender.remove(container, volumes=volumes)
