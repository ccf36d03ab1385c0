"""The states a container may pass through, and the refusals in Docker's words."""

from __future__ import annotations

from typing import Final

from sampan.engine.records import Status
from sampan.errors import Conflict

ALLOWED: Final[frozenset[tuple[Status, Status]]] = frozenset(
    (
        ("created", "running"),
        ("created", "created"),  # a start that failed: code and error are kept
        ("exited", "running"),
        ("exited", "exited"),  # the same for a second start
        ("running", "paused"),
        ("paused", "running"),
        ("running", "exited"),
        ("paused", "exited"),
        ("created", "exited"),  # recovery: it was started, and ended while nobody looked
        ("running", "restarting"),
        ("paused", "restarting"),
        ("restarting", "running"),
        ("restarting", "restarting"),  # the start failed: a longer back-off
        ("restarting", "exited"),
        ("exited", "restarting"),  # sampand starts
        ("created", "removing"),
        ("exited", "removing"),
        ("dead", "removing"),
    )
)
ALIVE: Final = frozenset({"running", "paused", "restarting"})


def check_transition(container_id: str, now: Status, then: Status) -> None:
    """Raise unless a container may go from now to then.

    Raises:
        Conflict: in Docker's words.
    """
    if (now, then) not in ALLOWED:
        raise Conflict(_refusal(container_id, now, then))


def restarting_refusal(container_id: str) -> str:
    """Return why nothing can be done in a container that waits for its restart."""
    return f"Container {container_id} is restarting, wait until the container is running"


def _refusal(container_id: str, now: Status, then: Status) -> str:
    match now, then:
        case "removing" | "dead", "running":
            return "container is marked for removal and cannot be started"
        case "removing", "removing":
            return f"removal of container {container_id} is already in progress"
        case "paused", "paused":
            return f"Container {container_id} is already paused"
        case "restarting", "paused":
            return restarting_refusal(container_id)
        case _, "paused":
            return f"Container {container_id} is not running"
    return f"container {container_id} is {now} and cannot become {then}"
