"""The child of a clone: runs its steps, reports, waits to be let go, becomes the program. Lean.

Chart and reasons: docs/runtime-protocol.md. Nothing unwinds past `run_child`; it ends in execve or `_exit`.
"""

from __future__ import annotations

import errno
import os
import time

from sampan.kernel import constants as k
from sampan.kernel import namespaces, netlink, process
from sampan.runtime import handshake, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from sampan.runtime.program import Program
    from sampan.runtime.steps import Child, Step

_SIGKILL = 9


def run_child(
    child: Child, steps: tuple[Step, ...], last: Callable[[Child], None], *, timed: bool
) -> NoReturn:
    """Run the steps, tell the parent, wait for `commit`, then run last, which must not return.

    timed sends the parent the moment (ns of the monotonic clock) at which each step was done.
    """
    label = "begin"
    try:
        program.reset_signals()
        process.set_pdeathsig(_SIGKILL)
        os.setsid()
        os.umask(0)
        moments = []
        for step in steps:
            label = step.label
            step.run(child, *step.arguments)
            if timed:
                moments.append(time.monotonic_ns())
        label = "report"
        child.channel.tell("ready", list(moments))
        child.channel.wait()
        label = "start"
        last(child)
    except BaseException as exc:  # whatever it is, the parent must hear of it
        os.write(child.channel.fd, handshake.encode_error(exc, label))
    finally:
        os._exit(1)


def start_init(child: Child, wanted: Program, before: tuple[Callable[[], None], ...]) -> None:
    """Wait on the fifo until somebody starts the container; errors go to start.error, read by the starter.

    Without a fifo it starts at once, and the parent hears of errors by the channel. before: what to do
    ahead of execve, such as the startContainer hooks.
    """
    if child.fifo_fd >= 0:
        os.close(child.channel.fd)
        child.channel.fd = child.error_fd
        os.read(child.fifo_fd, 1)
    for action in before:
        action()
    program.execute(child, wanted)


# Steps that both init and exec, or neither rootfs nor program, have


def enter_cgroups(child: Child, entry_fds: tuple[int, ...]) -> None:
    """Move into the container's cgroups: a lone thread may move itself without the kernel's long lock."""
    for fd in entry_fds:
        os.write(fd, b"0")


def enter_unified(child: Child, cgroup_fd: int) -> None:
    """Move into a cgroup of v2, for a process that was not born there."""
    procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=cgroup_fd)
    os.write(procs, b"0")
    os.close(procs)


def set_affinity(child: Child, cpus: frozenset[int]) -> None:
    """Run on these processors only."""
    os.sched_setaffinity(0, cpus)


def become_root_inside(child: Child, uid: int, gid: int) -> None:
    """Wait until the maps are written, then take ids that exist in the new user namespace."""
    child.channel.wait()
    take_ids(child, uid, gid)


def take_ids(child: Child, uid: int, gid: int) -> None:
    """Take ids of the user namespace we are in. A change of ids ends the bond to the parent: tie it again."""
    process.setresgid(gid, gid, gid)
    process.setresuid(uid, uid, uid)
    process.set_pdeathsig(_SIGKILL)
    process.set_dumpable(False)


def join_namespaces(child: Child, namespace_fds: tuple[tuple[int, int], ...]) -> None:
    """Join namespaces given by path: (descriptor, `CLONE_NEW*`)."""
    for fd, flag in namespace_fds:
        namespaces.setns(fd, flag)


def join_process(child: Child, pidfd: int, flags: int) -> None:
    """Join the namespaces in flags of another process, all at once."""
    namespaces.setns(pidfd, flags)


def make_cgroup_namespace(child: Child) -> None:
    """Make a cgroup namespace, whose root is where we are now."""
    namespaces.unshare(k.CLONE_NEWCGROUP)


def join_keyring(child: Child, name: str, user_namespace: bool) -> None:
    """Leave the caller's session keyring for the container's own; a kernel without keys has none to leave."""
    try:
        process.join_session_keyring(name, user_namespace=user_namespace)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise


def loopback_up(child: Child) -> None:
    """Switch the loopback device of a new network namespace on."""
    netlink.set_loopback_up()


def set_names(child: Child, hostname: str, domainname: str) -> None:
    """Set the names of a UTS namespace."""
    if hostname:
        namespaces.set_hostname(hostname)
    if domainname:
        namespaces.set_domainname(domainname)


def parent_hooks(child: Child) -> None:
    """Let the parent run the hooks of its side, and wait for them."""
    child.channel.tell("hooks")
    child.channel.wait()


def bind_to_parent(child: Child, for_life: bool) -> None:
    """Keep, or end, the bond that kills this process when the thread that made it ends.

    Until `commit` a parent that is gone is seen by the channel's end as well.
    """
    process.set_pdeathsig(_SIGKILL if for_life else 0)
