"""Rename, resize."""

from __future__ import annotations

import msgspec

from sampan.engine import names
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.events import container_event
from sampan.errors import Conflict, InvalidArgument
from sampan.lean import Undo


def rename_container(core: Core, container: Container, new_name: str) -> None:
    """See `Containers.rename`.

    Raises:
        InvalidArgument, Conflict: in Docker's words.
    """
    name = new_name.removeprefix("/")
    names.check_name(name)
    with container.lock:
        old_name = container.record.name
        if name == old_name:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        if container.removed:
            raise Conflict(f"container {container.id} is marked for removal")
        record = msgspec.structs.replace(container.record, name=name)
        event = container_event(container, "rename", name=name, oldName=f"/{old_name}")
        with Undo() as undo:
            core.index.reserve_name(name, container.id)
            undo.add(core.index.release_name, name, container.id)
            with core.journal.transaction():
                core.journal.save_request(record)
                core.journal.add_event(event)
            undo.commit()
        container.record = record
        core.index.release_name(old_name, container.id)
    core.events.publish(event)


def resize_container(core: Core, container: Container, *, height: int, width: int) -> None:
    """See `Containers.resize`."""
    shim = container.shim
    if not container.running or shim is None:
        raise Conflict(f"container {container.id} is not running")
    shim.resize(height, width)
    core.events.emit(container_event(container, "resize", height=str(height), width=str(width)))
