"""From a prepared container to its program: who it is, what it may do, what it gets. Lean.

Init and exec share it. `plan_program` checks `process` and decides in the parent; the functions below it are
the child's steps, in the order of docs/runtime-protocol.md.
"""

from __future__ import annotations

import errno
import fcntl
import os
from _stat import S_ISDIR, S_ISREG

from sampan import log
from sampan.errors import CommandNotExecutable, CommandNotFound, InvalidArgument, SampanError, Unsupported
from sampan.kernel import capabilities, constants, process
from sampan.kernel import constants as k
from sampan.kernel.capabilities import CapSets, parse_capability
from sampan.kernel.syscall import buffer, syscall
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import SIG_DFL, SIG_SETMASK, getsignal, pthread_sigmask, signal

    from sampan.runtime.filters import Filter
    from sampan.runtime.steps import Child
    from sampan.spec import runtime as spec
else:
    from _signal import SIG_DFL, SIG_SETMASK, getsignal, pthread_sigmask, signal  # `signal` costs 3 ms

DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_UMASK = 0o022
_GETCWD = {"x86_64": 79, "aarch64": 17}[os.uname().machine]
_SIGNALS = tuple(number for number in range(1, 65) if number not in (9, 19, 32, 33))  # 32, 33 are libc's
_PASSWD_LIMIT = 10 << 20


@record
class Program:
    """A process's program as the child needs it: everything checked, every byte ready."""

    argv: tuple[bytes, ...]
    env: dict[bytes, bytes]
    cwd: bytes
    uid: int
    gid: int
    groups: tuple[int, ...] | None  # None: setgroups is denied in this user namespace
    umask: int
    caps: CapSets
    dropped: frozenset[int]  # from the bounding set
    ambient: frozenset[int]
    no_new_privileges: bool
    filter: Filter | None
    rlimits: tuple[tuple[int, int, int], ...]  # resource, soft, hard
    scheduler: spec.Scheduler | None
    io_priority: tuple[int, int] | None  # class, level
    personality: int | None
    terminal: bool


def plan_program(
    wanted: spec.Process, filter: Filter | None, personality: spec.Personality | None, *, setgroups: bool
) -> Program:
    """Check what only this machine can answer, and make the bytes.

    Raises:
        InvalidArgument: an unknown capability or limit, one that this process does not hold itself.
        Unsupported: a security module that this kernel lacks.
    """
    _check_labels(wanted)
    sets = _parse_sets(wanted.capabilities)
    groups = tuple(dict.fromkeys((wanted.user.gid, *wanted.user.additional_gids)))
    if not setgroups and wanted.user.additional_gids:
        raise InvalidArgument("process.user.additionalGids: setgroups is denied in this user namespace")
    return Program(
        argv=tuple(os.fsencode(argument) for argument in wanted.args),
        env=_plan_env(wanted.env),
        cwd=os.fsencode(wanted.cwd),
        uid=wanted.user.uid,
        gid=wanted.user.gid,
        # The primary group is among the supplementary ones: a file's `g-r` must not be dodged by dropping it.
        groups=groups if setgroups else None,
        umask=_DEFAULT_UMASK if wanted.user.umask is None else wanted.user.umask,
        caps=_plan_caps(sets, wanted.user.uid),
        dropped=capabilities.all_caps() - sets["bounding"],
        ambient=sets["ambient"],
        no_new_privileges=wanted.no_new_privileges,
        filter=filter,
        rlimits=plan_rlimits(wanted.rlimits),
        scheduler=wanted.scheduler,
        io_priority=_plan_io_priority(wanted.io_priority),
        personality=None if personality is None else _PERSONALITIES[personality.domain],
        terminal=wanted.terminal,
    )


_PERSONALITIES = {"LINUX": k.PER_LINUX, "LINUX32": k.PER_LINUX32}


def _check_labels(wanted: spec.Process) -> None:
    if wanted.apparmor_profile not in ("", "unconfined") and not os.path.exists("/sys/module/apparmor"):
        raise Unsupported(
            f"process.apparmorProfile: {wanted.apparmor_profile!r}: this kernel has no AppArmor",
            hint="leave the field out",
        )
    if wanted.selinux_label and not os.path.isdir("/sys/fs/selinux"):
        raise Unsupported(
            f"process.selinuxLabel: {wanted.selinux_label!r}: this kernel has no SELinux",
            hint="leave the field out",
        )


def _parse_sets(wanted: spec.Capabilities | None) -> dict[str, frozenset[int]]:
    """Turn the five lists into numbers; what this process cannot give is an error, never a smaller set.

    Without process.capabilities the program has none.
    """
    sets = {}
    available: frozenset[int] = frozenset()
    for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        numbers = set()
        for text in getattr(wanted, name) if wanted is not None else ():
            try:
                numbers.add(parse_capability(text))
            except InvalidArgument as exc:
                raise InvalidArgument(f"process.capabilities.{name}: {exc}", hint=exc.hint) from exc
        sets[name] = frozenset(numbers)
        available |= capabilities.get_bounding(sets[name] - available)
        missing = numbers - available
        if missing and os.geteuid() == 0:
            names = ", ".join(sorted(capabilities.NAMES[number] for number in missing))
            raise InvalidArgument(
                f"process.capabilities.{name}: {names} cannot be given: this process does not have it",
                hint="leave it out, or run where it is in the bounding set (capsh --print)",
            )
    if not sets["effective"] <= sets["permitted"]:
        raise InvalidArgument("process.capabilities.effective: has more than permitted")
    possible = sets["permitted"] & sets["inheritable"]
    if not sets["ambient"] <= possible:
        # The kernel refuses these; `runc spec` writes such a document, and runc leaves them out.
        names = ",".join(sorted(capabilities.NAMES[number] for number in sets["ambient"] - possible))
        log.warning("ambient capabilities left out", names=names, why="not permitted and inheritable")
        sets["ambient"] &= possible
    return sets


def _plan_caps(sets: dict[str, frozenset[int]], uid: int) -> CapSets:
    """Return the sets to hold at execve; another user than root holds its ambient ones only.

    Exec would take the others from it anyway, but under no-new-privileges what a process holds decides which
    of a file's capabilities it gets: none it should be.
    """
    if uid == 0:
        return CapSets(
            effective=sets["effective"], permitted=sets["permitted"], inheritable=sets["inheritable"]
        )
    return CapSets(
        effective=sets["effective"] & sets["ambient"],
        permitted=sets["ambient"],
        inheritable=sets["inheritable"],
    )


def _plan_env(entries: tuple[str, ...]) -> dict[bytes, bytes]:
    """Turn NAME=value texts into what execve takes; the last of equal names wins, as in a shell."""
    env = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        env[os.fsencode(name)] = os.fsencode(value)
    return env


def plan_rlimits(wanted: Iterable[spec.Rlimit]) -> tuple[tuple[int, int, int], ...]:
    """Return (resource, soft, hard) for each limit, cut to what this process may set, with a warning.

    Raises:
        InvalidArgument: there is no such limit.
    """
    plan = []
    for limit in wanted:
        number = constants.RLIMITS.get(limit.type)
        if number is None:
            raise InvalidArgument(f"process.rlimits: there is no limit {limit.type!r}")
        hard = limit.hard
        _, ours = process.prlimit(0, number)
        if hard > ours and not _may_raise():
            log.warning("rlimit clamped", type=limit.type, wanted=hard, hard=ours, why="no CAP_SYS_RESOURCE")
            hard = ours
        plan.append((number, min(limit.soft, hard), hard))
    return tuple(plan)


def _may_raise() -> bool:
    return capabilities.NUMBERS["CAP_SYS_RESOURCE"] in capabilities.get_caps().effective


def _plan_io_priority(wanted: spec.IoPriority | None) -> tuple[int, int] | None:
    if wanted is None:
        return None
    return int(getattr(constants, wanted.io_class)), wanted.priority


# The child's steps


def reset_signals() -> None:
    """Give every signal its default: Python ignores two, our caller maybe more, and exec keeps that."""
    for number in _SIGNALS:
        if getsignal(number) == SIG_DFL:
            continue
        try:
            signal(number, SIG_DFL)
        except (OSError, ValueError):
            continue
    pthread_sigmask(SIG_SETMASK, ())


def set_attributes(child: Child, program: Program) -> None:
    """Set what later steps may not: no-new-privileges, scheduling, personality, limits."""
    if program.no_new_privileges:
        process.set_no_new_privs()
    if program.scheduler is not None:
        set_scheduler(program.scheduler)
    if program.io_priority is not None:
        process.ioprio_set(*program.io_priority)
    if program.personality is not None:
        process.personality(program.personality)


def set_rlimits(child: Child, program: Program) -> None:
    """Set the limits, while the process still may."""
    for number, soft, hard in program.rlimits:
        process.prlimit(0, number, (soft, hard))


def set_scheduler(wanted: spec.Scheduler) -> None:
    """Set the scheduling policy and its parameters."""
    flags = 0
    for name in wanted.flags:
        flags |= getattr(constants, name)
    process.sched_setattr(
        0,
        policy=getattr(constants, wanted.policy),
        flags=flags,
        nice=wanted.nice,
        priority=wanted.priority,
        runtime_ns=wanted.runtime,
        deadline_ns=wanted.deadline,
        period_ns=wanted.period,
    )


def enter_cwd(child: Child, program: Program) -> None:
    """Change to the working directory, check that it is inside, and look the program up there.

    A directory outside of the root, reached through a leaked descriptor, has no path (CVE-2024-21626).
    """
    try:
        os.chdir(program.cwd)
    except PermissionError:
        child.cwd_pending = True  # some file systems let only the user in, not root
        return
    except OSError as exc:
        raise _explain_cwd(program, exc) from exc
    _use_cwd(child, program)


def _explain_cwd(program: Program, exc: OSError) -> SampanError:
    """Word it as runc does; Docker takes the exit code from the reason (translateContainerdStartErr)."""
    reason = (exc.strerror or "").lower()
    failed = f"chdir to cwd ({_quote(program.cwd)}) set in config.json failed"
    text = f"unable to start container process: {failed}: {reason}"
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return CommandNotFound(text)
    return CommandNotExecutable(text) if exc.errno == errno.EACCES else SampanError(text)


def _use_cwd(child: Child, program: Program) -> None:
    check_cwd()
    child.program_path = find_program(program)
    if b"HOME" not in program.env:
        program.env[b"HOME"] = find_home(program)


def check_cwd() -> None:
    """Check by getcwd(2) itself that the working directory lies below the root; libc hides the difference."""
    path = buffer(4096)
    try:
        syscall(_GETCWD, path, len(path))
    except OSError as exc:
        raise SampanError(f"the working directory is not inside the container: {exc.strerror}") from exc
    if not path.value.startswith(b"/"):
        raise SampanError("the working directory is not inside the container")


def find_program(program: Program) -> bytes:
    """Look argv[0] up as execvp does, and refuse what cannot be run; texts as Go's os/exec words them.

    Raises:
        CommandNotFound, CommandNotExecutable.
    """
    name = program.argv[0]
    shown = f"unable to start container process: exec: {_quote(name)}"
    if b"/" in name:
        return _check_program(name, shown)
    refused: CommandNotExecutable | None = None
    for folder in program.env.get(b"PATH", DEFAULT_PATH).split(b":"):
        try:
            return _check_program((folder or b".") + b"/" + name, shown) if name else b""
        except CommandNotFound:
            continue
        except CommandNotExecutable as exc:
            refused = refused or exc
    if refused is not None:
        raise refused
    raise CommandNotFound(f"{shown}: executable file not found in $PATH")


def _check_program(path: bytes, shown: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
    except PermissionError as exc:
        raise CommandNotExecutable(f"{shown}: permission denied") from exc
    except OSError as exc:
        reason = (exc.strerror or "").lower()
        raise CommandNotFound(f"{shown}: stat {_show(path)}: {reason}") from exc
    if S_ISDIR(mode):
        raise CommandNotExecutable(f"{shown}: is a directory")
    if not mode & 0o111:
        raise CommandNotExecutable(f"{shown}: permission denied")
    return path


def _show(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def _quote(text: bytes) -> str:
    return '"' + _show(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def find_home(program: Program) -> bytes:
    """Return the user's home by the container's /etc/passwd, "/" without one.

    The file is the container's: only a regular one of at most 10 MiB is read; nothing blocks (CVE-2024-9676).
    """
    wanted = b"%d" % program.uid
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b"/"
    try:
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode) or status.st_size > _PASSWD_LIMIT:
            return b"/"
        content = os.read(fd, _PASSWD_LIMIT)
    except OSError:
        return b"/"
    finally:
        os.close(fd)
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted:
            return fields[5] or b"/"
    return b"/"


def place_descriptors(child: Child, program: Program) -> None:
    """Put stdio and the kept descriptors at 0, 1, 2, 3, …; close the others but three that are still needed.

    Those three are close-on-exec and no directories, so nothing of the host can be entered through them.
    """
    if not program.terminal:
        _own_stdio(child.stdio, program.uid)
    wanted = (*child.stdio, *child.keep_fds)
    count = len(wanted)
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, count) for fd in wanted]
    needed = [
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, count) if fd >= 0 else -1
        for fd in (child.channel.fd, child.fifo_fd, child.error_fd)
    ]
    for number, fd in enumerate(copies):
        os.dup2(fd, number)
    child.channel.fd, child.fifo_fd, child.error_fd = needed
    first = count
    for fd in sorted(fd for fd in needed if fd >= 0):
        if fd > first:
            process.close_range(first, fd - 1)
        first = fd + 1
    process.close_range(first)
    child.root_fd = child.proc_fd = -1


def _own_stdio(stdio: tuple[int, int, int], uid: int) -> None:
    """Give stdio to the program's user, so that it can open /dev/stdout anew."""
    for fd in set(stdio):
        try:
            status = os.fstat(fd)
            if status.st_uid != uid and status.st_rdev != os.makedev(1, 3):
                os.fchown(fd, uid, -1)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                raise


def become_user(child: Child, program: Program) -> None:
    """Take the program's ids and capability sets; nothing else that is privileged is left from here on."""
    capabilities.drop_bounding(program.dropped)
    process.keep_caps(True)
    if program.groups is not None:
        process.setgroups(program.groups)
    process.setresgid(program.gid, program.gid, program.gid)
    process.setresuid(program.uid, program.uid, program.uid)
    process.keep_caps(False)
    if child.cwd_pending:
        try:
            os.chdir(program.cwd)
        except OSError as exc:
            raise _explain_cwd(program, exc) from exc
        _use_cwd(child, program)
    os.umask(program.umask)
    capabilities.set_caps(program.caps)
    capabilities.set_ambient(program.ambient)


def execute(child: Child, program: Program) -> None:
    """Become the program. Returns only by raising.

    Raises:
        CommandNotFound, CommandNotExecutable: what execve says about it.
    """
    try:
        os.execve(child.program_path, program.argv, program.env)  # noqa: S606 -- this is what it is all for
    except OSError as exc:
        raise explain_exec(child.program_path, exc) from exc


def explain_exec(path: bytes, exc: OSError) -> SampanError:
    """Return the error of a program that execve refused."""
    reason = (exc.strerror or "").lower()
    text = f"unable to start container process: exec {_show(path)}: {reason}"
    kind = CommandNotFound if exc.errno in (errno.ENOENT, errno.ENOTDIR) else CommandNotExecutable
    return kind(text)
