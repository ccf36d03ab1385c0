"""Processes: descriptors of them, waiting, attributes that a process sets on itself, limits, /proc/<pid>.

The identity calls (setgroups, setresuid, setresgid) are the raw ones: they change the calling thread only,
which is all of a freshly cloned child. A process with threads must use `os` instead.
"""

from __future__ import annotations

import errno
import os
import struct

from sampan.kernel.constants import (
    CLOSE_RANGE_CLOEXEC,
    CLOSE_RANGE_UNSHARE,
    IOPRIO_CLASS_SHIFT,
    IOPRIO_WHO_PROCESS,
    KEYCTL_DESCRIBE,
    KEYCTL_JOIN_SESSION_KEYRING,
    KEYCTL_SETPERM,
    PR_GET_DUMPABLE,
    PR_GET_NO_NEW_PRIVS,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    RLIMITS,
)
from sampan.kernel.syscall import POINTER, WORD, Call, buffer, encode, fail
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from signal import pidfd_send_signal as pidfd_send_signal  # (pidfd, signal); signal 0 only checks
else:
    from _signal import pidfd_send_signal as pidfd_send_signal  # `signal` imports enum

_pidfd_open = Call("pidfd_open", WORD, WORD)
_pidfd_getfd = Call("pidfd_getfd", WORD, WORD, WORD)
_prctl = Call("prctl", WORD, WORD, WORD, WORD, WORD)
_prctl_text = Call("prctl", WORD, POINTER, WORD, WORD, WORD)
_close_range = Call("close_range", WORD, WORD, WORD)
_keyctl = Call("keyctl", WORD, WORD, WORD, WORD, WORD)
_keyctl_text = Call("keyctl", WORD, POINTER, WORD, WORD, WORD)
_keyctl_read = Call("keyctl", WORD, WORD, POINTER, WORD, WORD)
_setgroups = Call("setgroups", WORD, POINTER)
_setresuid = Call("setresuid", WORD, WORD, WORD)
_setresgid = Call("setresgid", WORD, WORD, WORD)
_personality = Call("personality", WORD)
_sched_setattr = Call("sched_setattr", WORD, POINTER, WORD)
_ioprio_set = Call("ioprio_set", WORD, WORD, WORD)
_prlimit64 = Call("prlimit64", WORD, WORD, POINTER, POINTER)

_RLIMIT = struct.Struct("=QQ")  # struct rlimit64: rlim_cur, rlim_max
# struct sched_attr, sched/types.h: size policy flags nice priority runtime deadline period util_min util_max
_SCHED_ATTR = struct.Struct("=IIQiIQQQII")
MAX_FD = 0x7FFFFFFF


@record
class ExitStatus:
    """How a process ended: its exit code, or the signal that killed it (then code is 0)."""

    code: int
    signal: int = 0

    @property
    def shell_code(self) -> int:
        """The code as shells and Docker report it: 128 + signal for a killed process."""
        return 128 + self.signal if self.signal else self.code


# Descriptors of processes, and telling a process from another with its number


def pidfd_open(pid: int, flags: int = 0) -> int:
    """Return a descriptor of a process, as pidfd_open(2) does (Linux 5.3; nothing can take its place).

    Raises:
        OSError: ESRCH, there is no such process.
    """
    return _pidfd_open(pid, flags, path=f"pid {pid}")


def pid_of(pidfd: int) -> int:
    """Return the pid behind a descriptor of a process, which may have ended by the time it is used.

    Raises:
        OSError: ESRCH, it has ended already.
    """
    path = f"/proc/self/fdinfo/{pidfd}"
    with open(path, encoding="ascii") as file:
        pid = next((int(line[4:]) for line in file if line.startswith("Pid:")), -1)
    if pid <= 0:
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH), path)
    return pid


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Return a copy of another process's descriptor, as pidfd_getfd(2) does."""
    return _pidfd_getfd(pidfd, fd, 0)


def wait_pidfd(pidfd: int) -> ExitStatus:
    """Wait until our child behind pidfd has ended, reap it, and say how it ended.

    Raises:
        OSError: ECHILD, it is not our child, or it was reaped already.
    """
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert result is not None  # only with WNOHANG
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(code=0, signal=result.si_status)


def start_ticks(pid: int | str) -> int:
    """Return when a process started, in clock ticks since boot: with the pid, an identity no other will have.

    Raises:
        OSError: FileNotFoundError or ESRCH, there is no such process.
    """
    # Not `open`: the first use of its layers of objects costs a forked process 0.2 MiB.
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        stat = os.read(fd, 4096)
    finally:
        os.close(fd)
    # The name in brackets may itself hold brackets and spaces; field 22 counts from behind the last one.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def open_same_process(pid: int, ticks: int) -> int:
    """Return a pidfd of the process that had this pid and these start ticks, and of no later one.

    Raises:
        OSError: ESRCH, that process is gone (whoever has its number now).
    """
    pidfd = pidfd_open(pid)
    try:
        if start_ticks(pid) == ticks:  # read after the descriptor was opened: it cannot be a third process
            return pidfd
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(pidfd)
        raise
    os.close(pidfd)
    raise fail(errno.ESRCH, f"process {pid} started at tick {ticks}")


def read_status(pid: int | str = "self") -> dict[str, str]:
    """Return the fields of /proc/<pid>/status, such as "State": "S (sleeping)". proc_pid_status(5)."""
    with open(f"/proc/{pid}/status", "rb") as file:
        text = file.read().decode("utf-8", "surrogateescape")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


# What a process sets on itself


def prctl(option: int, argument: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    """Make a prctl(2) call whose arguments are integers."""
    return _prctl(option, argument, third, fourth, fifth)


def set_dumpable(value: bool) -> None:
    """Allow or forbid core dumps, ptrace and the reading of /proc/<pid> by processes of our own user."""
    prctl(PR_SET_DUMPABLE, int(value))


def is_dumpable() -> bool:
    """Return whether this process is dumpable (1; 2, root only, counts as not)."""
    return prctl(PR_GET_DUMPABLE) == 1


def set_no_new_privs() -> None:
    """Let no exec give more privileges from here on (set-user-id, file capabilities); it cannot be undone."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def no_new_privs() -> bool:
    """Return whether `set_no_new_privs` is in force."""
    return prctl(PR_GET_NO_NEW_PRIVS) == 1


def set_child_subreaper(value: bool = True) -> None:
    """Become, or stop being, the parent that orphans among our descendants get."""
    prctl(PR_SET_CHILD_SUBREAPER, int(value))


def set_pdeathsig(signal: int) -> None:
    """Get this signal when the parent *thread* ends; cleared by a change of ids and by set-user-id programs.

    A parent that ended before the call sends nothing: check the parent afterwards.
    """
    prctl(PR_SET_PDEATHSIG, signal)


def set_name(name: str) -> None:
    """Set the name that ps shows for this thread; the kernel keeps 15 bytes."""
    _prctl_text(PR_SET_NAME, encode(name), 0, 0, 0)


def keep_caps(value: bool) -> None:
    """Keep the permitted capabilities when all user ids change from 0 (until the next exec)."""
    prctl(PR_SET_KEEPCAPS, int(value))


def setgroups(groups: Sequence[int]) -> None:
    """Set the supplementary groups of the calling thread.

    Raises:
        OSError: EPERM, no CAP_SETGID, or setgroups is denied in this user namespace; EINVAL, over 65,536.
    """
    _setgroups(len(groups), struct.pack(f"={len(groups)}I", *groups))


def setresuid(real: int, effective: int, saved: int) -> None:
    """Set the three user ids (and the file-system id) of the calling thread; -1 leaves one as it is."""
    _setresuid(real, effective, saved)


def setresgid(real: int, effective: int, saved: int) -> None:
    """Set the three group ids (and the file-system id) of the calling thread; -1 leaves one as it is."""
    _setresgid(real, effective, saved)


def personality(persona: int) -> int:
    """Set the execution domain, as personality(2) does, and return the previous one; 0xFFFFFFFF only asks."""
    return _personality(persona)


# Descriptors


def close_range(first: int, last: int = MAX_FD, flags: int = 0) -> None:
    """Close all descriptors from first to last, or mark them with CLOSE_RANGE_CLOEXEC: close_range(2).

    Without the call (Linux < 5.9; the flag is of 5.11) /proc/self/fd says which descriptors there are.

    Raises:
        OSError: EINVAL, last is below first. Errors of single descriptors are not reported.
    """
    try:
        _close_range(first, last, flags)
    except OSError as exc:
        old_without_flag = exc.errno == errno.EINVAL and flags & CLOSE_RANGE_CLOEXEC and first <= last
        if exc.errno != errno.ENOSYS and not old_without_flag:
            raise
        _close_each(first, last, flags)


def _close_each(first: int, last: int, flags: int) -> None:
    if flags & CLOSE_RANGE_UNSHARE:
        from sampan.kernel.constants import CLONE_FILES
        from sampan.kernel.namespaces import unshare

        unshare(CLONE_FILES)
    for fd in list_fds():
        if first <= fd <= last:
            try:
                if flags & CLOSE_RANGE_CLOEXEC:
                    os.set_inheritable(fd, False)
                else:
                    os.close(fd)
            except OSError:
                pass  # closed meanwhile: it was the descriptor of the listing itself


def list_fds() -> list[int]:
    """Return the open descriptors of this process, without the one that the listing needs."""
    fds = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    return [fd for fd in fds if _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.get_inheritable(fd)
    except OSError:
        return False
    return True


# Keyrings


def join_session_keyring(name: str, *, user_namespace: bool = False) -> int:
    """Make and join a session keyring, and let its owner search it; return its serial number.

    Without this a container would share the keyring of whoever started it. A later process of the container
    joins the same ring by its name; therefore search permission for the owning user (in a user namespace:
    for others). Source: keyctl(2), keyrings(7); what runc grants, libcontainer/keys.

    Raises:
        OSError: EDQUOT, the key quota is used up, ENOSYS, a kernel without keys.
    """
    try:
        ring = _keyctl_text(KEYCTL_JOIN_SESSION_KEYRING, encode(name), 0, 0, 0)
    except OSError as exc:
        if exc.errno == errno.EDQUOT:
            limits = "sysctls kernel.keys.maxkeys and kernel.keys.root_maxkeys"
            raise OSError(
                exc.errno, f"cannot make a session keyring: the key quota is used up ({limits})", name
            ) from exc
        raise OSError(exc.errno, f"cannot make a session keyring: {exc.strerror}", name) from exc
    search = 0x8 if user_namespace else 0x80000  # KEY_OTH_SEARCH, KEY_USR_SEARCH: include/linux/key.h
    _keyctl(KEYCTL_SETPERM, ring, _keyring_permission(ring) | search, 0, 0)
    return ring


def _keyring_permission(ring: int) -> int:
    """Return the permission mask of a key: the fourth field of "type;uid;gid;perm;description"."""
    text = buffer(4096)
    length = _keyctl_read(KEYCTL_DESCRIBE, ring, text, len(text), 0)
    return int(text.raw[:length].split(b";")[3], 16)


# Limits, scheduling


def prlimit(pid: int, resource: int | str, limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the (soft, hard) limit a process had, and set new ones if given; RLIM_INFINITY is 2**64-1.

    resource is a number or a name such as "RLIMIT_NOFILE"; pid 0 is the caller.

    Raises:
        OSError: EPERM, the hard limit would rise without CAP_SYS_RESOURCE; EINVAL, soft is above hard.
    """
    number = RLIMITS[resource] if isinstance(resource, str) else resource
    old = buffer(_RLIMIT.size)
    new = None if limits is None else _RLIMIT.pack(*limits)
    _prlimit64(pid, number, new, old, path=f"{resource} of pid {pid}" if pid else f"{resource}")
    soft, hard = _RLIMIT.unpack(old.raw)
    return soft, hard


def sched_setattr(
    pid: int,
    *,
    policy: int,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime_ns: int = 0,
    deadline_ns: int = 0,
    period_ns: int = 0,
) -> None:
    """Set policy (`SCHED_*`) and parameters of a thread, as sched_setattr(2) does; pid 0 is the caller.

    Raises:
        OSError: EPERM, the policy needs CAP_SYS_NICE; EINVAL, a parameter does not fit the policy; EBUSY, the
            deadline cannot be promised.
    """
    attributes = _SCHED_ATTR.pack(
        _SCHED_ATTR.size, policy, flags, nice, priority, runtime_ns, deadline_ns, period_ns, 0, 0
    )
    _sched_setattr(pid, attributes, 0)


def ioprio_set(io_class: int, level: int, *, pid: int = 0) -> None:
    """Set the input/output priority: IOPRIO_CLASS_* and a level of 0 (highest) to 7; pid 0 is the caller.

    Raises:
        OSError: EPERM, IOPRIO_CLASS_RT without CAP_SYS_ADMIN or CAP_SYS_NICE.
    """
    _ioprio_set(IOPRIO_WHO_PROCESS, pid, io_class << IOPRIO_CLASS_SHIFT | level)


def set_oom_score_adj(pid: int | str, value: int) -> int:
    """Set how readily the out-of-memory killer takes a process (-1000 to 1000); return what it is now.

    Without CAP_SYS_RESOURCE the value cannot go below what a privileged process last set; it then stays as it
    is, and the caller sees that by the result.
    """
    path = f"/proc/{pid}/oom_score_adj"
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            os.write(fd, b"%d" % max(-1000, min(1000, value)))
        except PermissionError:  # EACCES: below the floor
            pass
        return int(os.pread(fd, 16, 0))
    finally:
        os.close(fd)


def thread_count() -> int:
    """Return the number of threads of this process; `clone` and joining a user namespace need just one."""
    return len(os.listdir("/proc/self/task"))


assert struct.calcsize("@l") == 8  # the structures above are those of 64-bit kernels
