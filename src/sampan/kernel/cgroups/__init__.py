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

from sampan.kernel.cgroups.hierarchy import Hierarchy, Tree, detect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.kernel.cgroups.manager import CgroupManager, Stats

__all__ = ["CgroupManager", "Hierarchy", "Stats", "Tree", "detect", "open_manager"]  # noqa: F822 -- two are types only


def open_manager(hierarchy: Hierarchy, path: str, driver: str = "cgroupfs") -> CgroupManager:
    """Return the manager of the cgroup at path; nothing is made or opened yet.

    An absolute path starts at the root of each hierarchy as this process sees it; a relative one at the
    caller's own cgroup on v1, and beside it on v2 (a cgroup with processes may have no controlled children).

    Raises:
        InvalidArgument: path has `..`, a NUL or newline, or is the root itself; driver is not "cgroupfs".
        Unsupported: this machine has no cgroup file system mounted.
    """
    raise NotImplementedError
