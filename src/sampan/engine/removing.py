"""Remove containers: one, by force or not, and all that do not run."""

from __future__ import annotations

from contextlib import suppress

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.ending import Ender
from sampan.engine.listing import Filters, make_tests, matches
from sampan.engine.stopping import Stopper
from sampan.engine.times import parse_until_ns
from sampan.errors import Conflict, InvalidArgument, NotFound, Unsupported
from sampan.ids import ContainerId
from sampan.spec import docker

_ATTEMPTS = 5
_PRUNE_KEYS = frozenset({"label", "label!", "until"})


def remove_container(
    container: Container, ender: Ender, stopper: Stopper, *, force: bool, ref: str, link: bool
) -> None:
    """See `Containers.remove`.

    Raises:
        Conflict: it runs and force is not set; in Docker's words.
    """
    if link:
        raise Unsupported("not supported yet: removing a link")
    for _ in range(_ATTEMPTS if force else 0):
        if container.active:
            with suppress(Conflict):  # it has just ended by itself
                stopper.kill(container, signal="KILL", ref=ref)
        if container.removed:
            return  # AutoRemove was faster
        try:
            ender.remove(container)
            return
        except Conflict:
            continue  # somebody has just started it, or removes it too
    ender.remove(container)


def prune_containers(core: Core, ender: Ender, filters: Filters) -> docker.ContainersPrune:
    """See `Containers.prune`.

    Raises:
        InvalidArgument: an unknown filter.
    """
    for key in filters:
        if key not in _PRUNE_KEYS:
            raise InvalidArgument(f"invalid filter '{key}'")
    wanted = make_tests(core, {key: values for key, values in filters.items() if key == "label"})
    unwanted = [make_tests(core, {"label": [value]}) for value in filters.get("label!", ())]
    until_ns = min((parse_until_ns(value) for value in filters.get("until", ())), default=None)
    deleted, freed = [], 0
    for container in core.index.all():
        if container.active or not matches(container, wanted):
            continue
        if any(matches(container, tests) for tests in unwanted):
            continue
        if until_ns is not None and container.record.created_ns >= until_ns:
            continue
        try:
            size = core.store.snapshots.usage(ContainerId(container.id))
            ender.remove(container)
        except (Conflict, NotFound):
            continue  # started or removed meanwhile
        deleted.append(container.id)
        freed += size
    return docker.ContainersPrune(ContainersDeleted=deleted, SpaceReclaimed=freed)
