"""What a container has changed in its root: read from its upper directory alone (API 1.51, `/changes`).

```
 upper directory          the layers below have it      they do not
 whiteout (0:0 device)    D                             (nothing: made and removed again)
 directory                C if it differs, or for       A, and all in it
                          what is listed inside
 opaque directory         C; D for each of its old      A
                          names that is not in it
 anything else            C                             A
```

Only the names that are in the upper directory are looked up below, and the old names of a directory that was
replaced: the image is never scanned. Docker's order: by name, a directory before its content. What the
runtime made to mount on does not show. The container may change things meanwhile.
Source: moby, pkg/archive/changes.go, for what clients expect.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Final

from sampan.engine.container import Container
from sampan.engine.core import Core
from sampan.engine.records import Record
from sampan.engine.volumes.mount_points import mount_points
from sampan.errors import Conflict, NotFound
from sampan.ids import ContainerId
from sampan.spec import docker
from sampan.store.archive.attributes import is_opaque
from sampan.store.archive.directories import is_whiteout
from sampan.store.archive.walking import Found, walk
from sampan.store.belowview import Below, Layers

CHANGED: Final = 0
ADDED: Final = 1
DELETED: Final = 2
_SECOND_NS: Final = 10**9

Changes = list[docker.FilesystemChange]


def read_changes(core: Core, container: Container) -> Changes:
    """See `Containers.changes`."""
    try:
        snapshot = core.store.snapshots.get(ContainerId(container.id))
    except NotFound as exc:
        raise Conflict(f"container {container.id} is marked for removal") from exc
    with core.store.snapshots.changes(snapshot) as upper, Below(snapshot.lower[::-1]) as below:
        return compare(upper, below, mount_points=_mount_points(container.record))


def _mount_points(record: Record) -> frozenset[bytes]:
    """Return where something is mounted, relative to the root."""
    return frozenset(os.fsencode(mount.destination.strip("/")) for mount in mount_points(record))


def compare(upper: str, below: Below, *, mount_points: frozenset[bytes] = frozenset()) -> Changes:
    """Compare an upper directory with what shows below it."""
    fd = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Comparison(below, mount_points).run(fd)
    finally:
        os.close(fd)


@dataclass(slots=True)
class _Directory:
    """A directory that is being walked; listed before its content, but that it is shows only at its end.

    below: the layers that have it, none if it is new. differs: in more than its time. hid: something in it
    was made to mount on.
    """

    path: bytes
    below: Layers
    place: int
    is_new: bool = False
    is_opaque: bool = False
    differs: bool = False
    time_differs: bool = False
    hid: bool = False
    names: set[bytes] = field(default_factory=set)


class _Comparison:
    def __init__(self, below: Below, mount_points: frozenset[bytes]) -> None:
        self._below = below
        self._mount_points = mount_points
        self._changes: Changes = []
        self._stack: list[_Directory] = []

    def run(self, fd: int) -> Changes:
        """Walk the upper directory."""
        for found in walk(fd, shown=b""):
            if found.leaving:
                self._leave()
            elif not found.path:
                self._stack.append(_Directory(b"", self._below.layers, -1))
            elif stat.S_ISDIR(found.status.st_mode):
                self._enter(found)
            else:
                self._visit(found)
        return self._changes

    def _enter(self, found: Found) -> None:
        above = self._stack[-1]
        above.names.add(found.name)
        old = self._below.find(found.path, above.below)
        directory = _Directory(found.path, (), len(self._changes), is_new=old is None)
        if old is not None:
            directory.below = self._below.enter(found.path, above.below)
            directory.is_opaque = is_opaque(found.fd)
            directory.differs = directory.is_opaque or _attributes(found.status) != _attributes(old)
            directory.time_differs = not _is_same_time(found.status.st_mtime_ns, old.st_mtime_ns)
        self._add(found.path, CHANGED)
        self._stack.append(directory)

    def _leave(self) -> None:
        directory = self._stack.pop()
        if directory.is_opaque:
            for name in sorted(self._below.names(directory.path, directory.below) - directory.names):
                self._add(directory.path + b"/" + name, DELETED)
        if directory.place < 0:
            return
        has_content = len(self._changes) > directory.place + 1
        if not has_content and self._is_for_mounts(directory):
            self._stack[-1].hid = True
            self._changes.pop()
        elif has_content or directory.is_new or directory.differs or directory.time_differs:
            kind = ADDED if directory.is_new else CHANGED
            self._changes[directory.place] = _change(directory.path, kind)
        else:
            self._changes.pop()  # it was copied up and is as it was

    def _is_for_mounts(self, directory: _Directory) -> bool:
        """Tell whether the runtime made an empty directory, or one on the way to a mount point."""
        if directory.is_new:
            return directory.hid or directory.path in self._mount_points
        return directory.hid and not directory.differs

    def _visit(self, found: Found) -> None:
        above = self._stack[-1]
        above.names.add(found.name)
        old = self._below.find(found.path, above.below)
        if is_whiteout(found.status):
            if old is not None:
                self._add(found.path, DELETED)
        elif old is not None:
            self._add(found.path, CHANGED)
        elif found.path in self._mount_points and found.status.st_size == 0:
            above.hid = True
        else:
            self._add(found.path, ADDED)

    def _add(self, path: bytes, kind: int) -> None:
        self._changes.append(_change(path, kind))


def _change(path: bytes, kind: int) -> docker.FilesystemChange:
    return docker.FilesystemChange(Path=f"/{os.fsdecode(path)}".encode(errors="replace").decode(), Kind=kind)


def _attributes(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _is_same_time(one_ns: int, other_ns: int) -> bool:
    """Compare two times; archives keep whole seconds, so one without a fraction equals all of its second."""
    rough = one_ns % _SECOND_NS == 0 or other_ns % _SECOND_NS == 0
    return one_ns == other_ns or (rough and one_ns // _SECOND_NS == other_ns // _SECOND_NS)
