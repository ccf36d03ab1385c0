"""Device rules as an eBPF program on a cgroup v2 directory. Lean (decision 0002).

The kernel runs the program before a process below the cgroup opens or makes a device node; 1 allows, 0
gives EPERM (linux/bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE). Programs of parent cgroups must allow as well.
"""

from __future__ import annotations

import errno
import os
import struct

from sampan.kernel.cgroups.devices import ANY
from sampan.kernel.clib import buffer_of
from sampan.kernel.syscall import POINTER, WORD, Call, address, buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.kernel.cgroups.devices import Rule
    from sampan.kernel.clib import Buffer

# linux/bpf.h, enum bpf_cmd and bpf_attach_type; attach flags.
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_F_ALLOW_MULTI = 2
_F_REPLACE = 4
_DEVICE_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, _CHAR
_MAX_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS
_MAX_INSTRUCTIONS = 4096  # without CAP_BPF; more would mean some 600 rules
_LOG_SIZE = 65536

# Instructions: code, registers (source << 4 | destination), jump offset, immediate.
_INSTRUCTION = struct.Struct("=BBhi")
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE = 0xBC  # BPF_ALU | BPF_MOV | BPF_X, 32 bits
_MOVE_CONST = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
_AND_CONST = 0x54  # BPF_ALU | BPF_AND | BPF_K, 32 bits
_SHIFT_RIGHT = 0x74  # BPF_ALU | BPF_RSH | BPF_K, 32 bits
_JUMP_UNEQUAL = 0x56  # BPF_JMP32 | BPF_JNE | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_JUMP_IF_BITS = 0x46  # BPF_JMP32 | BPF_JSET | BPF_K
_EXIT = 0x95
_bpf = Call("bpf", WORD, POINTER, WORD)

_RESULT, _CONTEXT, _TYPE, _PENDING, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5  # registers


def device_program(rules: Sequence[Rule]) -> bytes:
    """Return the program (array of `struct bpf_insn`) in which the last rule that matches decides.

    The accesses asked for wait in a register. From the last rule to the first, one that allows takes its
    accesses away, and none left means yes; one that denies ends it if any of its accesses still waits.
    What waits at the end was in no rule: denied.

    Raises:
        OSError: E2BIG: too many rules.
    """
    code = [
        _op(_LOAD_WORD, _TYPE, _CONTEXT, offset=0),  # struct bpf_cgroup_dev_ctx: access << 16 | type
        _op(_MOVE, _PENDING, _TYPE),
        _op(_AND_CONST, _TYPE, constant=0xFFFF),
        _op(_SHIFT_RIGHT, _PENDING, constant=16),
        _op(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _op(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed(rules):
        verdict = _allow(rule.access) if rule.allow else _deny(rule.access)
        tests = [
            (register, value)
            for register, value in (
                (_TYPE, _DEVICE_TYPES.get(rule.type, ANY)),
                (_MAJOR, rule.major),
                (_MINOR, rule.minor),
            )
            if value != ANY
        ]
        for number, (register, value) in enumerate(tests):
            to_next_rule = len(tests) - number - 1 + len(verdict)
            code.append(_op(_JUMP_UNEQUAL, register, offset=to_next_rule, constant=_signed(value)))
        code += verdict
    code += [_op(_MOVE_CONST, _RESULT, constant=0), _op(_EXIT)]
    if len(code) > _MAX_INSTRUCTIONS:
        raise OSError(errno.E2BIG, f"{len(rules)} device rules do not fit into one BPF program")
    return b"".join(code)


def _allow(access: int) -> list[bytes]:
    return [
        _op(_AND_CONST, _PENDING, constant=~access & 7),
        _op(_JUMP_UNEQUAL, _PENDING, offset=2, constant=0),
        _op(_MOVE_CONST, _RESULT, constant=1),
        _op(_EXIT),
    ]


def _deny(access: int) -> list[bytes]:
    return [
        _op(_JUMP_IF_BITS, _PENDING, offset=1, constant=access),
        _op(_JUMP, offset=2),
        _op(_MOVE_CONST, _RESULT, constant=0),
        _op(_EXIT),
    ]


def _op(code: int, register: int = 0, source: int = 0, *, offset: int = 0, constant: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, source << 4 | register, offset, constant)


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


def load_device_program(program: bytes) -> int:
    """Load a program and return its descriptor, which the caller closes; attached programs live on without.

    Raises:
        OSError: EPERM: without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) in the first user namespace;
            otherwise the verifier's last word is in the message.
    """
    try:
        return _load(program, b"")
    except OSError as exc:
        if exc.errno in (errno.EPERM, errno.ENOSYS):
            raise
    log = buffer(_LOG_SIZE)
    try:
        return _load(program, log)
    except OSError as exc:
        lines = log.value.decode("ascii", "replace").splitlines()
        said = [line for line in lines if line.strip() and not line.startswith("processed ")]
        reason = said[-1] if said else os.strerror(exc.errno or 0)
        raise OSError(exc.errno, f"bpf: the kernel refuses the device program: {reason}") from exc


def _load(program: bytes, log: bytes | Buffer) -> int:
    code = buffer_of(program)
    licence = buffer_of(b"Apache\0")
    log_address = address(log) if not isinstance(log, bytes) else 0
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _PROG_TYPE_CGROUP_DEVICE,
        len(program) // _INSTRUCTION.size,
        address(code),
        address(licence),
        1 if log_address else 0,
        len(log),
        log_address,
        0,
        0,
        b"sampan_devices",
    )
    return _bpf(_PROG_LOAD, attributes, len(attributes))


def attach_device_program(directory_fd: int, program_fd: int) -> None:
    """Put a program on a cgroup directory in place of those that are there; there is no moment without one.

    Raises:
        OSError: errno is set.
    """
    old = [_program_by_id(number) for number in attached_programs(directory_fd)]
    try:
        if len(old) == 1:
            _attach(directory_fd, program_fd, flags=_F_ALLOW_MULTI | _F_REPLACE, replace_fd=old[0])
            return
        _attach(directory_fd, program_fd, flags=_F_ALLOW_MULTI)
        for fd in old:
            attributes = struct.pack("=IIII", directory_fd, fd, _CGROUP_DEVICE, 0)
            _bpf(_PROG_DETACH, attributes, len(attributes))
    finally:
        for fd in old:
            os.close(fd)


def _attach(directory_fd: int, program_fd: int, *, flags: int, replace_fd: int = 0) -> None:
    attributes = struct.pack("=IIIII", directory_fd, program_fd, _CGROUP_DEVICE, flags, replace_fd)
    _bpf(_PROG_ATTACH, attributes, len(attributes))


def attached_programs(directory_fd: int) -> list[int]:
    """Return the ids of the device programs on a cgroup directory itself, first attached first."""
    ids = buffer(4 * _MAX_PROGRAMS)
    attributes = buffer_of(
        struct.pack("=IIIIQI4x", directory_fd, _CGROUP_DEVICE, 0, 0, address(ids), _MAX_PROGRAMS)
    )
    _bpf(_PROG_QUERY, attributes, len(attributes))
    (count,) = struct.unpack_from("=I", attributes.raw, 24)
    return list(struct.unpack_from(f"={count}I", ids.raw))


def _program_by_id(number: int) -> int:
    attributes = struct.pack("=III", number, 0, 0)
    return _bpf(_PROG_GET_FD_BY_ID, attributes, len(attributes))
