"""System calls, bound once at import: one `Call` each, by number through libc's `syscall`.

By number, because glibc 2.36 (Debian 12) has no function for several of them, and because libc's own
setresuid and setgroups signal other threads, which must not happen in a freshly cloned child.
Source for the numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import os

from sampan.kernel.clib import addressof, c_char_p, c_long, get_errno, libc_function, make_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from sampan.kernel.clib import Buffer

    StrPath = str | bytes | os.PathLike[str]
    Argument = int | bytes | Buffer | None

WORD = c_long  # every integer argument: the kernel takes registers
POINTER = c_char_p  # every pointer: bytes (NUL-ended by Python) or a character buffer, never str

# Numbers from 424 on are the same everywhere.
_COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "fchmodat2": 452,
}
_X86_64 = {
    "clone": 56,
    "setgroups": 116,
    "setresuid": 117,
    "setresgid": 119,
    "capget": 125,
    "capset": 126,
    "personality": 135,
    "fstatfs": 138,
    "pivot_root": 155,
    "prctl": 157,
    "mount": 165,
    "umount2": 166,
    "sethostname": 170,
    "setdomainname": 171,
    "set_mempolicy": 238,
    "keyctl": 250,
    "ioprio_set": 251,
    "ioprio_get": 252,
    "inotify_add_watch": 254,
    "inotify_rm_watch": 255,
    "unshare": 272,
    "inotify_init1": 294,
    "prlimit64": 302,
    "syncfs": 306,
    "setns": 308,
    "sched_setattr": 314,
    "sched_getattr": 315,
    "seccomp": 317,
    "bpf": 321,
}
_GENERIC = {  # aarch64, riscv64, loongarch64
    "inotify_init1": 26,
    "inotify_add_watch": 27,
    "inotify_rm_watch": 28,
    "ioprio_set": 30,
    "ioprio_get": 31,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "fstatfs": 44,
    "capget": 90,
    "capset": 91,
    "personality": 92,
    "unshare": 97,
    "setresuid": 147,
    "setresgid": 149,
    "setgroups": 159,
    "sethostname": 161,
    "setdomainname": 162,
    "prctl": 167,
    "keyctl": 219,
    "clone": 220,
    "set_mempolicy": 237,
    "prlimit64": 261,
    "syncfs": 267,
    "setns": 268,
    "sched_setattr": 274,
    "sched_getattr": 275,
    "seccomp": 277,
    "bpf": 280,
}
TABLES = {
    "x86_64": {**_X86_64, **_COMMON},
    "aarch64": {**_GENERIC, **_COMMON},
}
MACHINE = os.uname().machine
NUMBERS = TABLES.get(MACHINE, {})  # empty elsewhere: every call then answers ENOSYS, by name

_off: set[str] = set()  # names that `switched_off` made answer ENOSYS


def fail(number: int, what: str, path: StrPath | None = None) -> OSError:
    """Return the OSError for errno `number` of call `what`; its filename is path, as the caller wrote it."""
    text = f"{what}: {os.strerror(number)}"
    return OSError(number, text) if path is None else OSError(number, text, os.fspath(path))


def encode(path: StrPath | None) -> bytes | None:
    """Return path as the kernel takes it; None stays NULL.

    Raises:
        OSError: EINVAL, path has a NUL byte; the kernel would silently see a shorter one.
    """
    if path is None:
        return None
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise fail(errno.EINVAL, "path with a NUL byte", path)
    return raw


class Call:
    """One system call with the types of its arguments, such as `Call("setns", WORD, WORD)`.

    The GIL is released while the call runs, unless keep_gil: a call that makes a second process out of
    this thread (clone) must leave no other thread the chance to run in between.
    """

    __slots__ = ("_function", "_number", "name")

    def __init__(self, name: str, *argtypes: type[WORD | POINTER], keep_gil: bool = False) -> None:
        self.name = name
        self._number = NUMBERS.get(name, -1)
        self._function = libc_function("syscall", (WORD, *argtypes), keep_gil=keep_gil)

    def __call__(self, *arguments: Argument, path: StrPath | None = None) -> int:
        """Make the call; a signal's EINTR restarts it, after Python's handlers have run.

        Raises:
            OSError: with errno, the call's name, and path as its filename.
        """
        if self.name in _off or self._number < 0:
            raise fail(errno.ENOSYS, self.name, path)
        while True:
            result: int = self._function(self._number, *arguments)
            if result != -1:
                return result
            number = get_errno()
            if number != errno.EINTR:
                raise fail(number, self.name, path)


def syscall(number: int, *arguments: Argument) -> int:
    """Make a system call that has no `Call` yet; ints and bytes only, at most six.

    Raises:
        OSError: errno is set.
    """
    argtypes = (WORD, *(WORD if isinstance(value, int) else POINTER for value in arguments))
    function = libc_function("syscall", argtypes)
    result: int = function(number, *arguments)
    if result == -1:
        raise fail(get_errno(), f"syscall {number}")
    return result


def buffer(size_bytes: int) -> Buffer:
    """Return a zeroed buffer that the kernel may write to."""
    return make_buffer(size_bytes)


def address(data: Buffer) -> int:
    """Return where a buffer lies, for pointers inside of structures; the caller keeps the buffer alive."""
    return addressof(data)


class switched_off:
    """Let the named calls answer ENOSYS inside the block, as an old kernel or a strict filter would."""

    def __init__(self, *names: str) -> None:
        unknown = set(names) - set(TABLES["x86_64"])
        assert not unknown, f"no such calls: {unknown}"
        self._names = set(names) - _off

    def __enter__(self) -> None:
        _off.update(self._names)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _off.difference_update(self._names)
