"""Check: what lies on the disk or in the kernel and nothing refers to (docs/observing.md, "Check").

A container's things carry its id. They are listed first and the known ids are read after that: an id that is
being made has its name reserved before anything else, one that is being removed is in `removals` until its
files are gone. So an unknown id of a thing that is still there is left over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan import log
from sampan.engine.core import Core
from sampan.engine.lifecycle.leftovers import clear_runtime_state, end_shim
from sampan.errors import SampanError
from sampan.ids import ContainerId
from sampan.kernel import cgroups
from sampan.kernel.constants import MNT_DETACH
from sampan.kernel.mountinfo import read_mountinfo
from sampan.kernel.mounts import umount
from sampan.network.neighbours import Dropping
from sampan.network.tracking import LIMIT, Table, read_table
from sampan.store.trees import tree_size

_ID: Final = re.compile(r"[0-9a-f]{64}")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. State: left over, removed, mended, missing; Error: why a repair failed."""

    Kind: str
    Name: str
    Path: str
    Size: int
    State: str
    Error: str = ""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to POST /sampan/v1/system/check."""

    Findings: list[Finding]
    Reclaimed: int
    Notes: list[str] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Leftover:
    kind: str
    name: str
    path: str
    remove: Callable[[], None] | None  # None: missing, nothing to remove
    size_bytes: int = 0
    repaired: str = "removed"


def check(core: Core, *, repair: bool, images: bool = False) -> CheckReport:
    """See `System.check`. Kinds come in an order in which they can be removed: mounts before directories."""
    findings = []
    with core.check.taken():
        for part in _PARTS:
            for leftover in list(part(core)):
                findings.append(_repair(leftover) if repair else _finding(leftover))
        if images:
            findings += _damaged(core)
    reclaimed = sum(one.Size for one in findings if one.State == "removed")
    droppings = core.networking.networks.droppings()
    findings += [_blocked(one) for one in droppings if not one.place]
    table = read_table()
    if table is not None and table.is_full:
        findings.append(_full(table))
    return CheckReport(
        Findings=findings,
        Reclaimed=reclaimed,
        Notes=[
            f"firewall: {one.table} {one.chain} drops what is forwarded; a rule in {one.place} lets "
            "containers through"
            for one in droppings
            if one.place
        ],
    )


def _blocked(chain: Dropping) -> Finding:
    """Report a forward chain whose owner we do not know: a rule of ours in it would be against its policy."""
    return Finding(
        Kind="firewall",
        Name=chain.chain,
        Path=chain.table,
        Size=0,
        State="drops what containers send and get: let the interfaces of `ip link show group` pass there",
    )


def _full(table: Table) -> Finding:
    return Finding(
        Kind="connections",
        Name=LIMIT,
        Path=f"/proc/sys/{LIMIT.replace('.', '/')}",
        Size=0,
        State=f"{table.entries} of {table.limit} tracked connections, {table.dropped} packets were dropped: "
        "new connections of containers are lost; raise it, or find who opens so many",
    )


def _damaged(core: Core) -> Iterator[Finding]:
    """Read all blobs and layers. Nothing is repaired: whoever has the image can bring it again."""
    for found in core.store.verifier.verify(core.store.images.list()):
        log.error("damaged", kind=found.kind, name=found.name, path=found.path, why=found.why)
        yield Finding(
            Kind=found.kind, Name=found.name, Path=found.path, Size=0, State="damaged", Error=found.why
        )


def _finding(leftover: _Leftover, *, state: str = "", error: str = "") -> Finding:
    return Finding(
        Kind=leftover.kind,
        Name=leftover.name,
        Path=leftover.path,
        Size=leftover.size_bytes,
        State=state or ("missing" if leftover.remove is None else "left over"),
        Error=error,
    )


def _repair(leftover: _Leftover) -> Finding:
    if leftover.remove is None:
        return _finding(leftover)
    try:
        leftover.remove()
    except (OSError, SampanError) as exc:
        return _finding(leftover, error=str(exc))
    log.warning(
        "leftover repaired", kind=leftover.kind, name=leftover.name, path=leftover.path, how=leftover.repaired
    )
    return _finding(leftover, state=leftover.repaired)


def _unknown(core: Core, names: list[str]) -> list[str]:
    """Return the names that are ids of no container, known or on its way; names were listed before."""
    ids = sorted(set(filter(_ID.fullmatch, names)))
    known = core.index.reserved_ids() | set(core.journal.removals()) | core.journal.broken.keys()
    return [one for one in ids if one not in known]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _mounts(core: Core) -> Iterator[_Leftover]:
    places = (f"{core.paths.containers}/", f"{core.paths.run_containers}/")
    found: list[tuple[str, str]] = []
    for mount in read_mountinfo():
        for place in places:
            if mount.mount_point.startswith(place):
                found.append((mount.mount_point.removeprefix(place).partition("/")[0], mount.mount_point))
    unknown = _unknown(core, [container_id for container_id, _ in found])
    for container_id, point in reversed(found):  # the last one mounted goes first
        if container_id in unknown:
            yield _Leftover("mount", container_id, point, _bind(umount, point, MNT_DETACH))


def _run_directories(core: Core) -> Iterator[_Leftover]:
    for container_id in _unknown(core, _names(core.paths.run_containers)):
        path = core.paths.run_dir(container_id)
        if os.path.isdir(path):
            remove = _bind(_end, core, container_id)
            yield _Leftover("run directory", container_id, path, remove, tree_size(path))


def _end(core: Core, container_id: str) -> None:
    end_shim(core, container_id)
    clear_runtime_state(core, container_id, cgroup="")


def _cgroups(core: Core) -> Iterator[_Leftover]:
    """Cgroups below our own parent; those of containers with another parent cannot be told from strangers."""
    parent = core.settings.cgroup_parent.strip("/")
    roots = {tree.mount_point for tree in (*core.hierarchy.v1, core.hierarchy.v2) if tree is not None}
    folders = [f"{root}/{parent}" for root in sorted(roots)]
    names = [name for folder in folders for name in _names(folder)]
    for container_id in _unknown(core, names):
        paths = [path for folder in folders if os.path.isdir(path := f"{folder}/{container_id}")]
        if paths:
            remove = _bind(_delete_cgroup, core, f"/{parent}/{container_id}")
            yield _Leftover("cgroup", container_id, paths[0], remove)


def _delete_cgroup(core: Core, path: str) -> None:
    manager = cgroups.open_manager(core.hierarchy, path)
    try:
        manager.kill()
        manager.delete()
    finally:
        manager.close()


def _directories(core: Core) -> Iterator[_Leftover]:
    for container_id in _unknown(core, _names(core.paths.containers)):
        path = core.paths.bundle(container_id)
        if os.path.isdir(path):
            remove = _bind(core.store.snapshots.remove, ContainerId(container_id))
            yield _Leftover("container directory", container_id, path, remove, tree_size(path))


def _snapshots(core: Core) -> Iterator[_Leftover]:
    for container_id in _unknown(core, [str(one) for one in core.store.snapshots.ids()]):
        if not os.path.isdir(core.paths.bundle(container_id)):
            remove = _bind(core.store.snapshots.remove, ContainerId(container_id))
            yield _Leftover("snapshot", container_id, core.paths.bundle(container_id), remove)


def _store(core: Core) -> Iterator[_Leftover]:
    for found in core.store.check.find():
        remove = None if found.kind == "missing" else _bind(core.store.check.remove, found)
        yield _Leftover(found.kind, found.name, found.path, remove, found.size_bytes)


def _volumes(core: Core) -> Iterator[_Leftover]:
    """No data is ever removed here: a directory becomes a volume, a row gets its directory back."""
    for name in core.store.volumes.strays():
        path = f"{core.settings.roots.data}/volumes/{name}"
        size = tree_size(path) if os.path.isdir(path) else 0
        yield _Leftover("volume", name, path, _bind(core.store.volumes.mend, name), size, "mended")


def _missing(core: Core) -> Iterator[_Leftover]:
    for container in core.index.all():
        path = core.paths.bundle(container.id)
        if not os.path.isdir(f"{path}/upper") and not container.removed:
            yield _Leftover("missing", f"container {container.id}", path, None)


_PARTS: Final = (_mounts, _run_directories, _cgroups, _directories, _snapshots, _volumes, _store, _missing)


def _bind(function: Callable[..., object], *arguments: object) -> Callable[[], None]:
    def call() -> None:
        function(*arguments)

    return call
