"""A private cgroup for a test, on whatever cgroup trees the machine has, and processes inside of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from tests.kernel.harness import fork

from sampan.kernel.cgroups import Hierarchy, open_manager
from sampan.kernel.namespaces import clone

if TYPE_CHECKING:
    from sampan.kernel.cgroups import CgroupManager


def parent_path() -> str:
    """Return the cgroup that a test process makes its own below."""
    return f"/sampan-test-{os.getpid()}"


@contextmanager
def private_cgroup(hierarchy: Hierarchy, name: str = "c") -> Iterator[CgroupManager]:
    """Yield a created manager; afterwards its processes and it are gone, and so is its parent."""
    manager = open_manager(hierarchy, f"{parent_path()}/{name}")
    try:
        manager.create()
        yield manager
    finally:
        manager.kill()
        manager.delete()
        remove_parent(hierarchy)


def remove_parent(hierarchy: Hierarchy) -> None:
    """Remove what `parent_path` names, and everything below."""
    parent = open_manager(hierarchy, parent_path())
    parent.delete()
    parent.close()


@contextmanager
def process_inside(manager: CgroupManager, function: Callable[[], object]) -> Iterator[int]:
    """Run function in a child that is born or moves itself into the cgroup; yield its pid once it is inside.

    The child ends with 0 when function returns, with 1 when it raises. What still runs is killed.
    """
    entries, clone_fd = manager.entry_fds(), manager.clone_fd()
    ready_read, ready_write = os.pipe()
    pid, handle = clone(0, cgroup_fd=clone_fd)
    if pid == 0:
        os.close(ready_read)
        _child(entries, ready_write, function)
    os.close(ready_write)
    os.read(ready_read, 1)
    os.close(ready_read)
    try:
        yield pid
    finally:
        if manager.frozen():
            manager.thaw()  # what is frozen does not die
        end(pid)
        os.close(handle)


def _child(entries: tuple[int, ...], ready: int, function: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        for fd in entries:
            os.write(fd, b"0")
        os.close(ready)
        function()
        code = 0
    finally:
        os._exit(code)


def end(pid: int) -> None:
    """Kill and reap a child; one that was reaped is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def exit_code(pid: int) -> int:
    """Wait for a child and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_sleeper() -> int:
    """Return the pid of a child that waits for a signal."""
    pid = fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid
