"""Capabilities: names, and the five sets of a thread. Source: capabilities(7), linux/capability.h."""

from __future__ import annotations

import errno
import struct

from sampan.errors import InvalidArgument
from sampan.kernel.constants import (
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_IS_SET,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
)
from sampan.kernel.process import prctl
from sampan.kernel.syscall import POINTER, Call, buffer
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The position is the number.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

_capget = Call("capget", POINTER, POINTER)
_capset = Call("capset", POINTER, POINTER)
_HEADER = struct.Struct("=Ii")  # struct __user_cap_header_struct: version, pid
_DATA = struct.Struct(
    "=6I"
)  # two __user_cap_data_struct (low words first): effective, permitted, inheritable
_LOW = 0xFFFFFFFF


@record
class CapSets:
    """The three sets of capset(2), as numbers of capabilities."""

    effective: frozenset[int]
    permitted: frozenset[int]
    inheritable: frozenset[int] = frozenset()


def parse_capability(text: str) -> int:
    """Return the number of a capability: "CAP_NET_ADMIN", "net_admin", in any case.

    Raises:
        InvalidArgument: no capability has this name; the hint names one that is near, if any.
    """
    name = text.upper()
    if not name.startswith("CAP_"):
        name = f"CAP_{name}"
    number = NUMBERS.get(name)
    if number is None:
        raise InvalidArgument(f"unknown capability {text!r}", hint=_suggestion(name))
    return number


def _suggestion(name: str) -> str:
    import difflib  # only on the way to an error: it costs 10 ms

    bare = [known[4:] for known in NAMES]  # the common prefix would make all of them alike
    near = difflib.get_close_matches(name[4:].removeprefix("CAP_").strip(), bare, n=1, cutoff=0.7)
    return f"did you mean CAP_{near[0]}?" if near else "capabilities(7) lists the names"


def last_cap() -> int:
    """Return the highest capability number that the running kernel knows (may exceed `NAMES`)."""
    highest = len(NAMES) - 1
    while not _is_valid(highest):
        highest -= 1
    while _is_valid(highest + 1):
        highest += 1
    return highest


def _is_valid(cap: int) -> bool:
    return _ask_bounding(cap) is not None


def _ask_bounding(cap: int) -> int | None:
    """Return 1 for a capability in the bounding set, 0 for another, None for one the kernel does not know."""
    try:
        return prctl(PR_CAPBSET_READ, cap)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return None


def all_caps() -> frozenset[int]:
    """Return every capability the running kernel knows."""
    return frozenset(range(last_cap() + 1))


def get_caps(pid: int = 0) -> CapSets:
    """Return the effective, permitted and inheritable sets of a thread; pid 0 is the caller.

    Raises:
        OSError: ESRCH, there is no such thread.
    """
    data = buffer(_DATA.size)
    _capget(_HEADER.pack(LINUX_CAPABILITY_VERSION_3, pid), data, path=f"pid {pid}" if pid else None)
    words = _DATA.unpack(data.raw)
    sets = [from_mask(words[index] | words[index + 3] << 32) for index in range(3)]
    return CapSets(effective=sets[0], permitted=sets[1], inheritable=sets[2])


def set_caps(sets: CapSets) -> None:
    """Set the three sets of the calling thread.

    Raises:
        OSError: EPERM, permitted would grow, effective is no part of permitted, or inheritable holds one that
            is neither permitted now nor in the bounding set.
    """
    masks = [to_mask(sets.effective), to_mask(sets.permitted), to_mask(sets.inheritable)]
    words = [mask & _LOW for mask in masks] + [mask >> 32 for mask in masks]
    _capset(_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0), _DATA.pack(*words))


def get_bounding(among: frozenset[int] | None = None) -> frozenset[int]:
    """Return the bounding set of the calling thread: what an exec could ever give.

    among: only these are asked for, by a system call each; those that the kernel does not know are in no set.
    """
    return frozenset(cap for cap in (all_caps() if among is None else among) if _ask_bounding(cap))


def drop_bounding(caps: frozenset[int]) -> None:
    """Drop capabilities from the bounding set of the calling thread, for good; one that is not in it is fine.

    Raises:
        OSError: EPERM, no CAP_SETPCAP.
    """
    for cap in caps:
        prctl(PR_CAPBSET_DROP, cap)


def get_ambient() -> frozenset[int]:
    """Return the ambient set of the calling thread: what plain programs keep over an exec."""
    return frozenset(
        cap for cap in range(last_cap() + 1) if prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap)
    )


def set_ambient(caps: frozenset[int]) -> None:
    """Make these, and no others, the ambient set of the calling thread.

    Raises:
        OSError: EPERM, one of them is not both permitted and inheritable.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for cap in caps:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap)


def to_mask(caps: Iterable[int]) -> int:
    """Return a set as the kernel writes it: bit n for capability n."""
    mask = 0
    for cap in caps:
        mask |= 1 << cap
    return mask


def from_mask(mask: int) -> frozenset[int]:
    """Return the numbers of the bits in mask."""
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)
