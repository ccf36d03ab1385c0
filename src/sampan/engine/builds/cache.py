"""What builds keep, for `system df` and `builder prune`: steps, cache mounts, fetched sources.

Each byte is counted once.
Source: API 1.51, `BuildCache` and `/build/prune`; BuildKit, client/filter.go and util/diskspace.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from sampan.engine.core import Core
from sampan.engine.lifecycle.pruning import parse_prune_filter, parse_truth
from sampan.engine.times import format_time, parse_until_ns
from sampan.errors import InvalidArgument, NotFound
from sampan.ids import ContainerId, Digest
from sampan.spec import docker
from sampan.store.trees import tree_size

if TYPE_CHECKING:
    from sampan.build.cache import CacheRecord
    from sampan.build.failed_steps import FailedSteps
    from sampan.build.solver import Builder

_FILTERS: Final = (
    "description", "id", "inuse", "parent", "parents", "private", "shared", "type", "unused-for",
)  # fmt: skip
_STEP, _MOUNT, _FETCHED, _FAILED = "regular", "exec.cachemount", "source.local", "internal"
_ID_LENGTH: Final = 25  # as long as BuildKit's; clients show it in a column


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing that builds keep.

    shared: an image, a container or an earlier one has it, and it is counted there.
    imaged: an image has its layer. key: of a step, "" for others, whose `remove` tells whether it is gone.
    """

    id: str
    kind: str
    description: str
    size_bytes: int
    created_ns: int
    used_ns: int
    key: str = ""
    remove: Callable[[], bool] = lambda: False
    uses: int = 0
    shared: bool = False
    imaged: bool = False
    in_use: bool = False

    def shown(self) -> docker.BuildCache:
        """Return it in Docker's shape."""
        return docker.BuildCache(
            ID=self.id,
            Type=self.kind,
            Description=self.description,
            InUse=self.in_use,
            Shared=self.shared,
            Size=self.size_bytes,
            CreatedAt=format_time(self.created_ns),
            LastUsedAt=format_time(self.used_ns),
            UsageCount=self.uses,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneWish:
    """What `/build/prune` asks for. keep_bytes: what may stay, the things used last; None: nothing."""

    filters: Mapping[str, Sequence[str]]
    every: bool = False
    keep_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed, and the bytes that came free."""

    ids: list[str]
    freed_bytes: int


class BuildCache:
    """Lists and prunes."""

    def __init__(self, builder: Builder, core: Core) -> None:
        self._builder = builder
        self._core = core

    def all(self) -> list[Kept]:
        """Return everything, what was used last first."""
        return sorted(
            (*self._steps(), *self._mounts(), *self._fetched(), *self._failed()), key=lambda one: -one.used_ns
        )

    def steps(self) -> list[CacheRecord]:
        """Return the cache of steps, the one used last first."""
        return self._builder.cache.records()

    def _steps(self) -> list[Kept]:
        records, store = self.steps(), self._core.store
        uncounted = only_built(self._core, records)
        known, in_images = set(store.layers.known()), store.built.in_images()
        found = []
        for record in records:
            chain = Digest(record.chain_id)
            found.append(
                Kept(
                    id=record.key[:_ID_LENGTH],
                    kind=_STEP,
                    description=record.line,
                    size_bytes=store.built.layer_size(chain),
                    created_ns=record.created_ns,
                    used_ns=record.used_ns,
                    uses=record.uses,
                    shared=chain in known and chain not in uncounted,
                    imaged=chain in in_images,
                    key=record.key,
                )
            )
            uncounted.discard(chain)
        return found

    def _mounts(self) -> list[Kept]:
        mounts = self._builder.mounts
        found = []
        for mount in mounts.all():
            found.append(
                Kept(
                    id=os.path.basename(mount.path)[:_ID_LENGTH],
                    kind=_MOUNT,
                    description=f"cache mount {mount.id}",
                    size_bytes=mount.size_bytes,
                    created_ns=mount.created_ns,
                    used_ns=mount.used_ns,
                    in_use=mount.in_use,
                    remove=partial(mounts.remove, mount),
                )
            )
        return found

    def _fetched(self) -> list[Kept]:
        """Downloads and checkouts, and the digests of contexts, as a whole."""
        found = []
        for name, what in (("build-downloads", "fetched files and repositories"),
                           ("build-contexts", "digests of contexts")):  # fmt: skip
            path = f"{self._core.paths.data}/{name}"
            if os.path.isdir(path):
                status = os.stat(path)
                found.append(
                    Kept(
                        id=name,
                        kind=_FETCHED,
                        description=what,
                        size_bytes=tree_size(path),
                        created_ns=status.st_mtime_ns,
                        used_ns=status.st_mtime_ns,
                        remove=partial(_remove_folder, path),
                    )
                )
        return found

    def _failed(self) -> list[Kept]:
        failed = self._builder.failed
        return [
            Kept(
                id=one.id,
                kind=_FAILED,
                description=f"failed step {one.line}",
                size_bytes=one.size_bytes,
                created_ns=one.created_ns,
                used_ns=one.created_ns,
                remove=partial(_remove_failed, failed, one.id),
            )
            for one in failed.all()
        ]

    def prune(self, wish: PruneWish) -> Pruned:
        """Remove what is not in use; without `every` what images have stays, and steps without a layer.

        Raises:
            InvalidArgument: an unknown filter, or a value that is none.
        """
        passes = parse_filters(wish.filters)
        gone: list[Kept] = []
        kept = 0
        for one in self.all():
            spared = one.in_use or (
                not wish.every and (one.imaged or (one.kind == _STEP and not one.size_bytes))
            )
            if spared or not passes(one):
                continue
            if wish.keep_bytes is not None and kept + one.size_bytes <= wish.keep_bytes:
                kept += one.size_bytes
                continue
            if one.key or one.remove():
                gone.append(one)
        freed = self._builder.cache.forget({one.key for one in gone if one.key})
        freed += sum(one.size_bytes for one in gone if not one.key)
        return Pruned([one.id for one in gone], freed)


def only_built(core: Core, records: Sequence[CacheRecord]) -> set[Digest]:
    """Return the chain ids of layers that neither an image nor a container has, only steps of builds."""
    found = {Digest(record.chain_id) for record in records if record.chain_id}
    found -= core.store.built.in_images()
    for container in core.index.all():
        try:
            found.difference_update(core.store.snapshots.chain(ContainerId(container.id)))
        except NotFound:
            continue
    return found


def parse_filters(filters: Mapping[str, Sequence[str]]) -> Callable[[Kept], bool]:
    """Read the filters of a prune; return what tells whether a thing passes.

    Raises:
        InvalidArgument: an unknown filter, or a value that is none.
    """
    plain = parse_prune_filter(filters, also=_FILTERS)
    before_ns = min((parse_until_ns(text) for text in filters.get("unused-for", ())), default=None)
    truths = {
        name: parse_truth(filters, name, default=False)
        for name in ("inuse", "shared", "private")
        if name in filters
    }
    texts = {name: tuple(filters[name]) for name in ("id", "type", "description") if name in filters}
    if filters.get("parent") or filters.get("parents"):
        raise InvalidArgument("filter 'parent': records have no parents here; use id, type or description")

    def passes(one: Kept) -> bool:
        values = {"inuse": one.in_use, "shared": one.shared, "private": not one.shared}
        words = {"id": one.id, "type": one.kind, "description": one.description}
        return (
            plain.passes({}, created_ns=one.used_ns)
            and (before_ns is None or one.used_ns <= before_ns)
            and all(values[name] == wanted for name, wanted in truths.items())
            and all(any(_fits(name, words[name], text) for text in wanted) for name, wanted in texts.items())
        )

    return passes


def _fits(name: str, value: str, text: str) -> bool:
    return text in value if name == "description" else value.startswith(text)


def _remove_failed(failed: FailedSteps, step_id: str) -> bool:
    failed.remove(step_id)
    return True


def _remove_folder(path: str) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not os.path.exists(path)
