"""Explain: what the runtime noted while it started a container."""

from __future__ import annotations

from sampan.engine.bundle.plan import Document
from sampan.engine.container import Container
from sampan.engine.lifecycle.launching import EXPLAIN
from sampan.errors import Conflict, InvalidArgument


def read_explanation(container: Container) -> list[Document]:
    """See `Containers.explain`."""
    if EXPLAIN not in container.record.host.Annotations:
        raise InvalidArgument(
            f"container {container.record.name} was started without notes",
            hint=f"start one with --annotation {EXPLAIN}=1, as `sampan explain run` does",
        )
    if not container.explanation:
        raise Conflict(f"container {container.id} has not been started since sampand was")
    return container.explanation
