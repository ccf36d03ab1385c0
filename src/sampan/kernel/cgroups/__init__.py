"""Control groups: one contract over v1, hybrid and v2 (docs/cgroups.md).

The package writes cgroup files; it does not know what a container is, and decides no policy: values come
as OCI resource records, device rules as a final list. Lean (decision 0002).

A process gets into a cgroup without waiting for the kernel's 8 ms migration lock in this way:

    manager = open_manager(hierarchy, "/sampan/ab12")
    manager.create()
    entries = manager.entry_fds()                          # before the clone
    pid, _ = clone(flags, cgroup_fd=manager.clone_fd())    # v2 (and the v2 tree of hybrid): born inside
    if pid == 0:
        for fd in entries:                                 # v1: a lone thread may move itself for free
            os.write(fd, b"0")

`attach(pid)` moves a process from outside and pays the lock.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.cgroups.directory import clean_path
from sampan.kernel.cgroups.hierarchy import Hierarchy, Tree, detect
from sampan.kernel.cgroups.place import find_place, known_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from sampan.kernel.cgroups.manager import CgroupManager as CgroupManager
    from sampan.kernel.cgroups.manager import Stats as Stats
    from sampan.kernel.cgroups.place import Place
    from sampan.kernel.cgroups.v1 import V1Manager
    from sampan.kernel.cgroups.v2 import V2Manager

    FilesManager: TypeAlias = V1Manager | V2Manager

__all__ = ["Hierarchy", "Tree", "detect", "open_manager", "reopen_manager"]


def open_manager(hierarchy: Hierarchy, path: str, driver: str = "cgroupfs") -> CgroupManager:
    """Return the manager of the cgroup at path; nothing is made or opened yet.

    An absolute path starts at the root of each hierarchy as this process sees it; a relative one at the
    caller's own cgroup on v1, and beside it on v2 (a cgroup with processes may have no controlled children).
    driver: "cgroupfs"; "systemd", for which path is `slice:prefix:name` (`kernel.cgroups.units`).

    Raises:
        InvalidArgument: path has `..`, a NUL or newline, or is the root itself; it is no `slice:prefix:name`;
            the driver is not known.
        Unsupported: this machine has no cgroup file system mounted.
        Unavailable: a user's own systemd, which knows where its cgroups are, does not answer.
    """
    if driver == "systemd":
        from sampan.kernel.cgroups.systemd import open_unit

        return open_unit(hierarchy, path)
    if driver != "cgroupfs":
        raise InvalidArgument(
            f"cgroup driver {driver!r} is not known", hint="the ones there are: cgroupfs, systemd"
        )
    return open_files(hierarchy, path)


def open_files(hierarchy: Hierarchy, path: str) -> FilesManager:
    """Return the manager of the cgroup at path, which writes the files itself; see `open_manager`."""
    clean = clean_path(path)
    if hierarchy.v2 is not None and hierarchy.kind == "v2":
        return _v2_manager(find_place(hierarchy.v2, clean, beside=True))
    if not hierarchy.v1:
        raise Unsupported("no cgroup file system is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup")
    places = [find_place(tree, clean, beside=False) for tree in hierarchy.v1]
    beside = None if hierarchy.v2 is None else find_place(hierarchy.v2, clean, beside=True)
    return _v1_manager(places, beside)


def reopen_manager(hierarchy: Hierarchy, paths: Mapping[str, str]) -> CgroupManager:
    """Return the manager of a cgroup made earlier, perhaps by a program that sat in another cgroup.

    paths are what its `CgroupManager.paths` gave; trees that are no longer there are left out.

    Raises:
        InvalidArgument: a path is not below the mount point of its tree.
        Unsupported: none of the trees is there.
    """
    unified = None
    if hierarchy.v2 is not None and "" in paths:
        unified = known_place(hierarchy.v2, paths[""])
    if hierarchy.kind == "v2" and unified is not None:
        return _v2_manager(unified)
    places = [
        known_place(tree, paths[",".join(tree.controllers)])
        for tree in hierarchy.v1
        if ",".join(tree.controllers) in paths
    ]
    if not places:
        raise Unsupported("the cgroup trees this container was made in are not mounted")
    return _v1_manager(places, unified)


# A machine has one of the two: the other is not imported, which is felt at every start of a container.


def _v1_manager(places: list[Place], unified: Place | None) -> V1Manager:
    from sampan.kernel.cgroups.unified import UnifiedPart
    from sampan.kernel.cgroups.v1 import V1Manager

    return V1Manager(places, None if unified is None else UnifiedPart(unified))


def _v2_manager(place: Place) -> V2Manager:
    from sampan.kernel.cgroups.v2 import V2Manager

    return V2Manager(place)
