"""Namespaces: making them, joining them, cloning processes into them, and the maps of user namespaces."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from sampan.kernel.constants import (
    CLONE_CLEAR_SIGHAND,
    CLONE_INTO_CGROUP,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_PIDFD,
    CLONE_VM,
    NS_GET_NSTYPE,
)
from sampan.kernel.syscall import POINTER, WORD, Call, address, buffer, encode, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    IdMap = tuple[int, int, int]  # first id inside, first id outside, count

SIGCHLD = 17

# Kinds as in /proc/<pid>/ns, in the order in which several of them are joined: user first, because it gives
# the capabilities to join the others; mnt last, because after it no path of ours means anything.
CLONE_FLAGS = {
    "user": CLONE_NEWUSER,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "net": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
    "mnt": CLONE_NEWNS,
}

_unshare = Call("unshare", WORD)
_setns = Call("setns", WORD, WORD)
_clone3 = Call("clone3", POINTER, WORD, keep_gil=True)
_clone = Call("clone", WORD, WORD, POINTER, WORD, WORD, keep_gil=True)
_sethostname = Call("sethostname", POINTER, WORD)
_setdomainname = Call("setdomainname", POINTER, WORD)

# struct clone_args: flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid(+size) cgroup
_CLONE_ARGS = struct.Struct("=11Q")
# clone(2) has no field for the first, reads the second as part of a signal number, and cuts off the third.
_ONLY_CLONE3 = CLONE_INTO_CGROUP | CLONE_NEWTIME | CLONE_CLEAR_SIGHAND
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # include/linux/proc_ns.h: PROC_USER_INIT_INO


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (`CLONE_NEW*`), as unshare(2) does.

    Raises:
        OSError: EINVAL for CLONE_NEWUSER if the process has more than one thread.
    """
    _unshare(flags)


def setns(fd: int, flags: int = 0) -> None:
    """Join the namespace that fd is, or those in flags of the process that the pidfd fd is, as setns(2) does.

    Raises:
        OSError: EINVAL, fd is of another kind than flags say, or the process has several threads (user, mnt).
    """
    _setns(fd, flags)


def clone(flags: int, *, cgroup_fd: int = -1, exit_signal: int = SIGCHLD) -> tuple[int, int]:
    """Make a child process with the namespaces of flags; return (pid, pidfd), in the child (0, -1).

    The child is a copy of this process, as after fork, and may go on running Python. What holds:

    - The caller has one thread, and no lock of libc or the interpreter is held: the GIL is kept, so the one
      thread there is comes out on both sides in the same state.
    - At-fork handlers (Python's and libc's) do not run. With one thread they have nothing to repair, except
      that libc's own idea of the thread id stays the parent's: the child must not use pthread_kill or
      signal.raise_signal on itself (os.kill is right), nor start threads.
    - Buffered but unwritten output of the parent is copied. The child must leave by exec or os._exit.

    cgroup_fd, a directory of cgroup v2, lets the child start inside of that cgroup (CLONE_INTO_CGROUP).
    CLONE_NEWTIME makes a time namespace whose offsets are fixed at once: see `write_time_offsets`.
    CLONE_VM is not allowed.

    Raises:
        OSError: errno is set. ENOSYS: the kernel (or a filter) has no clone3, and cgroup_fd, CLONE_NEWTIME or
            CLONE_CLEAR_SIGHAND need it; without these clone(2) takes its place.
    """
    assert not flags & CLONE_VM, "the child would run on the parent's stack"
    assert cgroup_fd < 0 or not flags & CLONE_INTO_CGROUP, "cgroup_fd sets the flag itself"
    flags |= CLONE_PIDFD
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    pidfd = buffer(4)
    arguments = _CLONE_ARGS.pack(
        flags, address(pidfd), 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup_fd if cgroup_fd >= 0 else 0
    )
    try:
        pid = _clone3(arguments, len(arguments))
    except OSError as exc:
        if exc.errno != errno.ENOSYS or flags & _ONLY_CLONE3:
            raise
        pid = _clone(flags | exit_signal, 0, pidfd, 0, 0)
    return (0, -1) if pid == 0 else (pid, int.from_bytes(pidfd.raw, "little"))


def namespace_id(pid: int | str, kind: str) -> int:
    """Return the inode number that identifies the namespace (kind as in /proc/<pid>/ns) of a process."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def open_namespace(pid: int | str, kind: str) -> int:
    """Return a descriptor of a process's namespace, for `setns`; it keeps the namespace alive."""
    return os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def in_initial_user_namespace() -> bool:
    """Tell whether our capabilities are those of the machine's own root, over everything."""
    return namespace_id("self", "user") == _INITIAL_USER_NAMESPACE


def namespace_kind(fd: int) -> str:
    """Return the kind of a namespace descriptor ("net", "mnt", …).

    Raises:
        OSError: ENOTTY, fd is no namespace.
    """
    flag = fcntl.ioctl(fd, NS_GET_NSTYPE)
    for kind, clone_flag in CLONE_FLAGS.items():
        if flag == clone_flag:
            return kind
    raise fail(errno.EINVAL, f"namespace of unknown kind {flag:#x}")


def write_id_maps(
    pid: int | str, uid_maps: Sequence[IdMap], gid_maps: Sequence[IdMap], *, deny_setgroups: bool = False
) -> None:
    """Write the id maps of the user namespace that a process has just been put in; each can be written once.

    Without CAP_SETGID outside, deny_setgroups must be set, or the group map is refused.

    Raises:
        OSError: EPERM, an id may not be mapped by us, or the map is already written. EINVAL, ranges overlap.
    """
    if deny_setgroups:
        _write_map(f"/proc/{pid}/setgroups", b"deny")
    for name, maps in (("gid_map", gid_maps), ("uid_map", uid_maps)):
        if maps:  # an empty write is EINVAL; without a map every id shows as the overflow id
            _write_map(f"/proc/{pid}/{name}", _format_maps(maps))


def _format_maps(maps: Sequence[IdMap]) -> bytes:
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in maps).encode()


def _write_map(path: str, data: bytes) -> None:
    """Write in one call: the kernel takes a map whole or not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    except OSError as exc:
        raise OSError(exc.errno, f"write {data.decode()!r}: {exc.strerror}", path) from exc
    finally:
        os.close(fd)


def write_time_offsets(offsets: Sequence[tuple[str, int, int]], *, pid: int | str = "self") -> None:
    """Set clocks of the time namespace for children: ("monotonic" or "boottime", seconds, nanoseconds) each.

    Possible only between `unshare(CLONE_NEWTIME)` and the first child born (or joining) there, so a time
    namespace with offsets is: unshare, this, `clone` without CLONE_NEWTIME, and in the parent
    `setns(own /proc/self/ns/time, CLONE_NEWTIME)` so that later children stay outside. time_namespaces(7).

    Raises:
        OSError: EACCES, a process is already in the namespace; ERANGE, a clock would become negative.
    """
    text = "".join(f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in offsets)
    _write_map(f"/proc/{pid}/timens_offsets", text.encode())


def set_hostname(name: str) -> None:
    """Set the host name of the calling process's UTS namespace (at most 64 bytes)."""
    raw = encode(name) or b""
    _sethostname(raw, len(raw), path=name)


def set_domainname(name: str) -> None:
    """Set the NIS domain name of the calling process's UTS namespace (at most 64 bytes)."""
    raw = encode(name) or b""
    _setdomainname(raw, len(raw), path=name)
