"""Rename, unlink, resize."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.engine import names
from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.observing.events import container_event
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.lean import Undo

_NO_NAME: Final = "Error when allocating new name"  # Docker's words


def rename_container(core: Core, container: Container, new_name: str) -> None:
    """See `Containers.rename`.

    Raises:
        InvalidArgument, Conflict: in Docker's words.
    """
    name = new_name.removeprefix("/")
    try:
        names.check_name(name, shown=f"/{name}")
    except InvalidArgument as exc:
        raise InvalidArgument(f"{_NO_NAME}: {exc}", hint=exc.hint) from exc
    with container.lock:
        old_name = container.record.name
        if name == old_name:
            raise InvalidArgument("Renaming a container with the same name as its current name")
        if container.removed:
            raise Conflict(f"container {container.id} is marked for removal")
        record = msgspec.structs.replace(container.record, name=name)
        event = container_event(container, "rename", name=name, oldName=f"/{old_name}")
        with Undo() as undo:
            _reserve(core, name, container)
            undo.add(core.index.release_name, name, container.id)
            with core.journal.transaction():
                core.journal.save_request(record)
                core.journal.add_event(event)
            undo.commit()
        container.record = record
        core.index.release_name(old_name, container.id)
        core.networking.rename(record)
    core.events.publish(event)


def unlink_container(core: Core, ref: str) -> None:
    """Take a link away by its path, `container/alias`; a running container has it until its next start.

    Raises:
        NotFound: no such container, or it has no such link. Conflict: ref is no path.
    """
    parent, _, alias = ref.strip("/").rpartition("/")
    if not parent:
        raise Conflict("Conflict, cannot remove the default link name of the container")
    container = core.index.get(parent)
    with container.lock:
        record = container.record
        left = [link for link in record.host.Links if link.partition(":")[2] != alias]
        if len(left) == len(record.host.Links):
            raise NotFound(f"container {parent} has no link {alias}")
        record = msgspec.structs.replace(record, host=msgspec.structs.replace(record.host, Links=left))
        core.journal.save_request(record)
        container.record = record


def _reserve(core: Core, name: str, container: Container) -> None:
    try:
        core.index.reserve_name(name, container.id)
    except Conflict as exc:
        raise Conflict(f"{_NO_NAME}: {exc}", hint=exc.hint) from exc


def resize_container(core: Core, container: Container, *, height: int, width: int) -> None:
    """See `Containers.resize`. A container without a terminal is not asked, as Docker does."""
    shim = container.shim
    if not container.running or shim is None:
        raise Conflict(f"container {container.id} is not running")
    if container.record.config.Tty:
        shim.resize(height, width)
    core.events.emit(container_event(container, "resize", height=str(height), width=str(width)))
