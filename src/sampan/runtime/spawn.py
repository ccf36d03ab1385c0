"""Clone a child into namespaces: new ones, joined ones, and the cases where the caller has to help. Lean.

The caller never changes for good. It joins a pid namespace, or makes a time namespace, for its children only,
and goes back. What cannot be taken back (a user namespace) is left to a stage (docs/runtime-protocol.md).
"""

from __future__ import annotations

import errno
import os

from sampan.errors import Conflict, SampanError
from sampan.kernel import constants as k
from sampan.kernel import files, namespaces, process
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from sampan.spec.runtime import TimeOffset


@record
class Placement:
    """Where a child is to live.

    new: `CLONE_NEW*` to make. join_pid: a pid namespace to be born in, -1 for none. stage: (descriptor, flag)
    to join in a process between, in order, the user namespace last; empty for no stage. time: the offsets of
    a new time namespace, None for none. cgroup_fd: of cgroup v2 to be born in, -1 for none. for_parent: as a
    child of the caller's parent.

    init: pidfd of the process that cgroup_fd was made for, -1 for none. If it has moved on to a cgroup inside
    and handed controllers on, as a systemd does, its old one may hold no processes: the child is born where
    it is now, as runc's.
    """

    new: int
    join_pid: int = -1
    stage: tuple[tuple[int, int], ...] = ()
    time: Mapping[str, TimeOffset] | None = None
    cgroup_fd: int = -1
    init: int = -1
    for_parent: bool = False


def spawn(placement: Placement, run: Callable[[], NoReturn]) -> tuple[int, int]:
    """Clone a child that does run(), which never returns; return its (pid, pidfd).

    It is our direct child, or with for_parent our sibling.

    Raises:
        OSError: errno is set. SampanError: a stage failed; the message says at what.
        Conflict: the pid namespace to join has ended.
    """
    ours = -1
    own_time = -1
    try:
        if placement.join_pid >= 0:
            ours = namespaces.open_namespace("self", "pid")
            namespaces.setns(placement.join_pid, k.CLONE_NEWPID)
        if placement.time is not None:
            own_time = namespaces.open_namespace("self", "time")
            _make_time_namespace(placement.time)
        if placement.stage:
            return _spawn_by_stage(placement, run)
        pid, pidfd = _clone_inside(placement)
        if pid == 0:
            run()
        return pid, pidfd
    except OSError as exc:
        if exc.errno == errno.ENOMEM and placement.join_pid >= 0:  # kernel/pid.c, alloc_pid
            raise Conflict("cannot join the pid namespace: its first process has ended") from exc
        raise
    finally:
        # Reached by the caller alone: a child never returns from run().
        if ours >= 0:
            namespaces.setns(ours, k.CLONE_NEWPID)
            os.close(ours)
        if own_time >= 0:
            namespaces.setns(own_time, k.CLONE_NEWTIME)
            os.close(own_time)


def _parent_flag(placement: Placement) -> int:
    return k.CLONE_PARENT if placement.for_parent else 0


def _make_time_namespace(offsets: Mapping[str, TimeOffset]) -> None:
    namespaces.unshare(k.CLONE_NEWTIME)
    namespaces.write_time_offsets(
        [(clock, offset.secs, offset.nanosecs) for clock, offset in offsets.items()]
    )


def _clone_inside(placement: Placement) -> tuple[int, int]:
    flags, parent = placement.new, _parent_flag(placement)
    try:
        return _clone(flags, placement.cgroup_fd, parent=parent)
    except OSError as exc:
        if exc.errno != errno.EBUSY or placement.init < 0:
            raise
        inner = _open_inner_cgroup(placement.cgroup_fd, placement.init)
        if inner < 0:
            raise
    try:
        return _clone(flags, inner, parent=parent)  # the child has it too, closed like all it was not given
    finally:
        os.close(inner)


def _open_inner_cgroup(cgroup_fd: int, init: int) -> int:
    """Open the cgroup below cgroup_fd that the process of a pidfd is in; -1 if it is not below.

    Its names are the container's: nothing but a directory below is ever opened.
    """
    try:
        pid = process.pid_of(init)
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            own = next(line[3:].rstrip("\n") for line in file if line.startswith("0::"))
    except (OSError, StopIteration):
        return -1  # it has ended
    outer = os.readlink(f"/proc/self/fd/{cgroup_fd}")  # begins with the mount point
    names = own.split("/")
    for count in range(len(names) - 1, 1, -1):
        if outer.endswith("/".join(names[:count])):
            resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_XDEV
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            try:
                return files.openat2(cgroup_fd, "/".join(names[count:]), flags, resolve=resolve)
            except OSError:
                return -1
    return -1


def _clone(flags: int, cgroup_fd: int, *, parent: int = 0) -> tuple[int, int]:
    exit_signal = 0 if parent else 17  # with CLONE_PARENT it is the signal of the caller itself
    try:
        return namespaces.clone(flags | parent, cgroup_fd=cgroup_fd, exit_signal=exit_signal)
    except OSError as exc:
        if exc.errno != errno.ENOSYS or cgroup_fd < 0:
            raise
        pid, pidfd = namespaces.clone(flags | parent, exit_signal=exit_signal)
        if pid == 0:
            _enter_cgroup(cgroup_fd)
        return pid, pidfd


def _enter_cgroup(cgroup_fd: int) -> None:
    """Move into a v2 cgroup by hand where the kernel (or a filter) lacks clone3; a failure ends the child."""
    try:
        procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=cgroup_fd)
        os.write(procs, b"0")
        os.close(procs)
    except OSError:
        os._exit(1)  # nothing may unwind into the parent's code; without its cgroup it must not run


def _spawn_by_stage(placement: Placement, run: Callable[[], NoReturn]) -> tuple[int, int]:
    """Let a process between join what is to be joined; its child becomes ours by CLONE_PARENT."""
    told, tell = os.pipe()
    stage, stage_pidfd = _clone(0, -1, parent=_parent_flag(placement))
    if stage == 0:
        os.close(told)
        _run_stage(placement, run, tell)
    os.close(tell)
    try:
        answer = os.read(told, 4096)
        if not placement.for_parent:
            process.wait_pidfd(stage_pidfd)
    finally:
        os.close(told)
        os.close(stage_pidfd)
    if not answer.isdigit():
        raise SampanError(f"cannot join the namespaces: {answer.decode() or 'the stage was killed'}")
    pid = int(answer)
    return pid, process.pidfd_open(pid)  # our child, not waited for: the number cannot be another's


def _run_stage(placement: Placement, run: Callable[[], NoReturn], tell: int) -> NoReturn:
    pid = -1
    try:
        for fd, flag in placement.stage:
            namespaces.setns(fd, flag)
        pid, _ = _clone(placement.new, placement.cgroup_fd, parent=k.CLONE_PARENT)
        if pid == 0:
            os.close(tell)
            run()
        os.write(tell, str(pid).encode())
    except BaseException as exc:  # the parent must hear of it
        if pid:
            os.write(tell, str(exc).encode())
    finally:
        os._exit(0)
