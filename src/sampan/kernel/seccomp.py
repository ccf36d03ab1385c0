"""Loading a seccomp filter. What the filter says is made by `sampan.runtime.seccomp`."""

from __future__ import annotations

import errno
import struct

from sampan.kernel.clib import buffer_of
from sampan.kernel.constants import SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_SET_MODE_FILTER
from sampan.kernel.syscall import POINTER, WORD, Call, address, fail

_seccomp = Call("seccomp", WORD, WORD, POINTER)
_SOCK_FPROG = struct.Struct("@HP")  # struct sock_fprog, linux/filter.h: len, filter
_INSTRUCTION_BYTES = 8  # struct sock_filter


def load_filter(program: bytes, flags: int = 0) -> int:
    """Put a classic BPF program over all further system calls of this thread and its children.

    Returns the listener's descriptor with SECCOMP_FILTER_FLAG_NEW_LISTENER, else -1. Needs no_new_privs or
    CAP_SYS_ADMIN.

    Raises:
        OSError: EACCES, neither of the two; EINVAL, the program is wrong or too long, or a flag is unknown.
    """
    count, rest = divmod(len(program), _INSTRUCTION_BYTES)
    if rest or not 0 < count <= 4096:  # BPF_MAXINSNS
        raise fail(errno.EINVAL, f"seccomp filter of {len(program)} bytes")
    instructions = buffer_of(program)
    result = _seccomp(SECCOMP_SET_MODE_FILTER, flags, _SOCK_FPROG.pack(count, address(instructions)))
    return result if flags & SECCOMP_FILTER_FLAG_NEW_LISTENER else -1
