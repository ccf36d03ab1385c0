"""Prune: remove what is not in use. Filters, one at a time of each kind, and the event that tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sampan.engine.core import Core
from sampan.engine.lifecycle.ending import Ender
from sampan.engine.observing.events import make_event
from sampan.engine.observing.usage import container_bytes
from sampan.engine.times import parse_until_ns
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.spec import docker

Filters = Mapping[str, Sequence[str]]
Labels = Mapping[str, str]

_TRUE, _FALSE = ("1", "true"), ("0", "false")


@dataclass(frozen=True, slots=True)
class PruneFilter:
    """What a prune spares: things without the wanted labels, with the unwanted ones, or made too late."""

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    until_ns: int | None = None

    def passes(self, labels: Labels, *, created_ns: int) -> bool:
        """Tell whether a thing with these labels may go."""
        if self.until_ns is not None and created_ns > self.until_ns:
            return False
        if self.unwanted and _have_all(labels, self.unwanted):
            return False
        return _have_all(labels, self.wanted)


def parse_prune_filter(filters: Filters, *, also: Sequence[str] = ()) -> PruneFilter:
    """Read the filters every prune has: `label`, `label!`, `until`; also names those the caller reads.

    Raises:
        InvalidArgument: an unknown filter, or a value that is none.
    """
    for key in filters:
        if key not in ("label", "label!", "until", *also):
            raise InvalidArgument(f"invalid filter '{key}'")
    until = list(filters.get("until", ()))
    if len(until) > 1:
        raise InvalidArgument("more than one until filter specified")
    return PruneFilter(
        wanted=tuple(filters.get("label", ())),
        unwanted=tuple(filters.get("label!", ())),
        until_ns=parse_until_ns(until[0]) if until else None,
    )


def parse_truth(filters: Filters, key: str, *, default: bool) -> bool:
    """Read a filter that is true or false.

    Raises:
        InvalidArgument: it is neither, or both.
    """
    values = {value.lower() for value in filters.get(key, ())}
    if not values:
        return default
    if values <= set(_TRUE):
        return True
    if values <= set(_FALSE):
        return False
    raise InvalidArgument(f"invalid filter '{key}=[{' '.join(filters[key])}]'")


def _have_all(labels: Labels, wanted: Sequence[str]) -> bool:
    return all(_has(labels, text) for text in wanted)


def _has(labels: Labels, text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in labels and (not equals or labels[key] == value)


def tell_prune(core: Core, kind: str, reclaimed_bytes: int) -> None:
    """Emit the event of a finished prune: no actor, but what it freed."""
    core.events.emit(make_event(kind, "prune", "", {"reclaimed": str(reclaimed_bytes)}))


def prune_containers(core: Core, ender: Ender, filters: Filters) -> docker.ContainersPrune:
    """See `Containers.prune`. What is freed counts the log files too.

    Raises:
        InvalidArgument: an unknown filter.
        Conflict: another prune runs.
    """
    wanted = parse_prune_filter(filters)
    deleted, freed = [], 0
    with core.container_prune.taken():
        for container in core.index.all():
            record = container.record
            if container.active or not wanted.passes(record.config.Labels, created_ns=record.created_ns):
                continue
            try:
                size = container_bytes(core, container.id).total
                ender.remove(container)
            except (Conflict, NotFound):
                continue  # started or removed meanwhile
            deleted.append(container.id)
            freed += size
        tell_prune(core, "container", freed)
    return docker.ContainersPrune(ContainersDeleted=deleted, SpaceReclaimed=freed)
