"""libseccomp by ctypes: names of calls to numbers, rules to BPF. Imported only to compile a profile. Lean.

Source: libseccomp's seccomp.h (2.5): tokens of architectures, actions, operators, attributes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from sampan.errors import Unsupported
from sampan.kernel.libseccomp_version import LIBRARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRACE = 0x7FF00000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000

OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
# The same as AUDIT_ARCH_* of linux/audit.h, which the kernel shows a filter; x32 has a token of its own.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_M68K": 0x00000004,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_SH": 0x4000002A,
    "SCMP_ARCH_SHEB": 0x0000002A,
}

_ATTR_CTL_NNP, _ATTR_CTL_OPTIMIZE = 3, 8
_UNKNOWN_NAME = -1  # __NR_SCMP_ERROR; other negative numbers stand for calls of other architectures
_ARG_CMP = struct.Struct("=IiQQ")  # struct scmp_arg_cmp


class Filter:
    """A filter in the making; `close` frees it.

    Raises:
        Unsupported: libseccomp is not installed.
    """

    def __init__(self, default_action: int) -> None:
        """Begin a filter for the native architecture, in which default_action is for calls without a rule."""
        self._library = _load()
        self._context = self._library.seccomp_init(default_action)
        if not self._context:
            raise OSError(errno.EINVAL, f"seccomp_init({default_action:#x})")
        # Whether no_new_privs is set is decided where the filter is loaded.
        self._library.seccomp_attr_set(self._context, _ATTR_CTL_NNP, 0)

    def close(self) -> None:
        """Free the filter."""
        context, self._context = self._context, None
        if context:
            self._library.seccomp_release(context)

    def optimize(self) -> None:
        """Ask for a binary tree of calls instead of a chain; older versions only have the chain."""
        self._library.seccomp_attr_set(self._context, _ATTR_CTL_OPTIMIZE, 2)

    def native_architecture(self) -> int:
        """Return the token of the machine's own architecture."""
        return int(self._library.seccomp_arch_native())

    def add_architecture(self, token: int) -> None:
        """Cover one more architecture; one that is covered already is fine.

        Raises:
            OSError: EINVAL: this libseccomp does not know it.
        """
        self._check(self._library.seccomp_arch_add(self._context, token), allowed=-errno.EEXIST)

    def number(self, name: str, architecture: int | None = None) -> int | None:
        """Return the number of a call, None when this libseccomp does not know the name.

        Without architecture it is a number for `add_rule`: negative for calls that only others have.
        """
        raw_name = name.encode("ascii", "replace")
        if architecture is None:
            number = int(self._library.seccomp_syscall_resolve_name(raw_name))
        else:
            number = int(self._library.seccomp_syscall_resolve_name_arch(architecture, raw_name))
        return None if number == _UNKNOWN_NAME else number

    def add_rule(
        self, action: int, number: int, conditions: Sequence[tuple[int, int, int, int]] = ()
    ) -> None:
        """Give action to a call when all conditions (argument, operator, value, second value) hold.

        Raises:
            OSError: EINVAL: libseccomp refuses it.
        """
        packed = b"".join(_ARG_CMP.pack(*condition) for condition in conditions)
        self._check(
            self._library.seccomp_rule_add_array(self._context, action, number, len(conditions), packed)
        )

    def export(self) -> bytes:
        """Return the program, an array of `struct sock_filter`."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            self._check(self._library.seccomp_export_bpf(self._context, fd))
            size = os.lseek(fd, 0, os.SEEK_END)
            return os.pread(fd, size, 0)
        finally:
            os.close(fd)

    def _check(self, result: int, *, allowed: int = 0) -> None:
        if result < 0 and result != allowed:
            raise OSError(-result, f"libseccomp: {os.strerror(-result)}")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as exc:
        raise Unsupported(
            "seccomp profiles need libseccomp, which is not installed",
            hint="install it: apt-get install libseccomp2 (or run with --security-opt seccomp=unconfined)",
        ) from exc
    pointer, word, number = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int
    for name, result, *arguments in (
        ("seccomp_init", pointer, word),
        ("seccomp_release", None, pointer),
        ("seccomp_attr_set", number, pointer, number, word),
        ("seccomp_arch_native", word),
        ("seccomp_arch_add", number, pointer, word),
        ("seccomp_syscall_resolve_name", number, ctypes.c_char_p),
        ("seccomp_syscall_resolve_name_arch", number, word, ctypes.c_char_p),
        ("seccomp_rule_add_array", number, pointer, word, number, ctypes.c_uint, ctypes.c_char_p),
        ("seccomp_export_bpf", number, pointer, number),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
