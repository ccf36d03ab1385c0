"""One seccomp profile to one BPF program. Imported only when no cache has it. Lean (decision 0002).

    our prelude:   for each architecture of the profile
                     calls that libseccomp does not know yet, by number → their action
                     numbers beyond the newest call of the profile      → ENOSYS
    libseccomp's:  everything else; an architecture not in the profile  → kill

ENOSYS for what the profile's author could not know lets libc fall back, where EPERM would break programs
(github.com/opencontainers/runc/pull/2750). Traps of the profile language: docs/seccomp.md.
"""

from __future__ import annotations

import errno
import struct

from sampan.errors import InvalidArgument
from sampan.kernel import libseccomp
from sampan.kernel.libseccomp import Filter
from sampan.kernel.libseccomp_version import library_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.spec.runtime import LinuxSeccomp, SeccompArg, SeccompRule

# include/uapi/asm-generic/unistd.h: from 424 on a call has the same number everywhere (x32 and mips add
# their base). Those before fchmodat2 are here for libseccomp before 2.5.5.
NEWER_CALLS = {
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}
# Calls of one architecture with numbers of its own, keyed by its token.
_NEWER_OF_ONE = {
    libseccomp.ARCHITECTURES["SCMP_ARCH_X86_64"]: {"uretprobe": 335, "uprobe": 336},
    libseccomp.ARCHITECTURES["SCMP_ARCH_RISCV64"]: {"riscv_hwprobe": 258, "riscv_flush_icache": 259},
}
_X86_64 = libseccomp.ARCHITECTURES["SCMP_ARCH_X86_64"]
_X32 = libseccomp.ARCHITECTURES["SCMP_ARCH_X32"]
_X32_BIT = 0x40000000
_BASES = {  # added to the common numbers
    _X32: _X32_BIT,
    **{libseccomp.ARCHITECTURES[f"SCMP_ARCH_MIPS{end}"]: 4000 for end in ("", "EL")},
    **{libseccomp.ARCHITECTURES[f"SCMP_ARCH_MIPS{end}"]: 5000 for end in ("64", "EL64")},
    **{libseccomp.ARCHITECTURES[f"SCMP_ARCH_MIPS{end}"]: 6000 for end in ("64N32", "EL64N32")},
}

_ACTIONS = {
    "SCMP_ACT_ALLOW": libseccomp.ALLOW,
    "SCMP_ACT_LOG": libseccomp.LOG,
    "SCMP_ACT_TRACE": libseccomp.TRACE,
    "SCMP_ACT_NOTIFY": libseccomp.NOTIFY,
    "SCMP_ACT_ERRNO": libseccomp.ERRNO,
    "SCMP_ACT_TRAP": libseccomp.TRAP,
    "SCMP_ACT_KILL": libseccomp.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": libseccomp.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": libseccomp.KILL_PROCESS,
}
# With one of these as default a new call is let through anyway, or a tracer answers for it.
_ALLOWING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_MAX_ERRNO = 4095  # linux/err.h; the kernel cuts larger ones down to it
_TREE_FROM = 32  # rules; libseccomp up to 2.5.4 goes wrong with a tree of nothing, and few need none

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, operand
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP = 0x05  # BPF_JMP | BPF_JA
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_GREATER = 0x25  # BPF_JGT
_IF_AT_LEAST = 0x35  # BPF_JGE
_IF_BITS = 0x45  # BPF_JSET
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # struct seccomp_data, linux/seccomp.h
_MAX_INSTRUCTIONS = 4096  # linux/bpf_common.h, BPF_MAXINSNS


def compile_profile(profile: LinuxSeccomp) -> bytes:
    """Compile profile to an array of `struct sock_filter`.

    Names that neither libseccomp nor we know are left out, as runc does: they get the default action.

    Raises:
        InvalidArgument: the profile is wrong; the message names the field.
        Unsupported: libseccomp is not installed.
    """
    default = check_profile(profile)
    wanted = Filter(default)
    try:
        architectures = _add_architectures(wanted, profile)
        rules = 0
        for number, rule in enumerate(profile.syscalls):
            rules += _add_rule(wanted, rule, default, field=f"linux.seccomp.syscalls[{number}]")
        if rules >= _TREE_FROM:
            wanted.optimize()
        program = _prelude(wanted, profile, default, architectures) + wanted.export()
    finally:
        wanted.close()
    if len(program) > _MAX_INSTRUCTIONS * _INSTRUCTION.size:
        raise InvalidArgument(
            f"linux.seccomp: the compiled filter has {len(program) // _INSTRUCTION.size} instructions; "
            f"the kernel takes {_MAX_INSTRUCTIONS}",
            hint="name fewer architectures or conditions",
        )
    return program


def check_profile(profile: LinuxSeccomp) -> int:
    """Check what libseccomp would not, and return the default action's code.

    Raises:
        InvalidArgument: the profile is wrong; the message names the field.
    """
    notifies = [number for number, rule in enumerate(profile.syscalls) if rule.action == "SCMP_ACT_NOTIFY"]
    if profile.default_action == "SCMP_ACT_NOTIFY":
        raise InvalidArgument("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default")
    if notifies and not profile.listener_path:
        raise InvalidArgument("linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY needs it")
    for number in notifies:
        if "write" in profile.syscalls[number].names:
            # The number of the listener's descriptor is told by write(2), by the process that is filtered.
            raise InvalidArgument(
                f"linux.seccomp.syscalls[{number}]: SCMP_ACT_NOTIFY cannot be used for write"
            )
    if profile.listener_metadata and not profile.listener_path:
        raise InvalidArgument("linux.seccomp.listenerMetadata: given without listenerPath")
    return _action(profile.default_action, profile.default_errno_ret, field="linux.seccomp", prefix="default")


def _action(name: str, errno_ret: int | None, *, field: str, prefix: str = "") -> int:
    code = _ACTIONS.get(name)
    action_field, errno_field = ("defaultAction", "defaultErrnoRet") if prefix else ("action", "errnoRet")
    if code is None:
        raise InvalidArgument(f"{field}.{action_field}: {name!r} is not a seccomp action")
    if errno_ret is not None and name not in _WITH_ERRNO:
        raise InvalidArgument(f"{field}.{errno_field}: {name} returns no errno")
    if name in _WITH_ERRNO:
        number = errno.EPERM if errno_ret is None else errno_ret
        if not 0 <= number <= _MAX_ERRNO:
            raise InvalidArgument(f"{field}.{errno_field}: {number} is not between 0 and {_MAX_ERRNO}")
        code |= number
    return code


def _add_architectures(wanted: Filter, profile: LinuxSeccomp) -> list[int]:
    """Cover the profile's architectures; the native one always is. Return all tokens, native first."""
    tokens = [wanted.native_architecture()]
    for name in profile.architectures:
        token = libseccomp.ARCHITECTURES.get(name)
        if token is None:
            raise InvalidArgument(f"linux.seccomp.architectures: {name!r} is not known")
        try:
            wanted.add_architecture(token)
        except OSError as exc:
            raise InvalidArgument(
                f"linux.seccomp.architectures: {name} cannot be filtered here: {exc.strerror}"
            ) from exc
        if token not in tokens:
            tokens.append(token)
    return tokens


def _add_rule(wanted: Filter, rule: SeccompRule, default: int, *, field: str) -> int:
    """Add one entry of the profile; return how many rules it became."""
    action = _action(rule.action, rule.errno_ret, field=field)
    if action == default:
        return 0  # libseccomp refuses what changes nothing
    groups = _condition_groups(rule, field=field)
    added = 0
    for name in rule.names:
        number = wanted.number(name)
        if number is None:
            if rule.args and name in NEWER_CALLS:
                raise InvalidArgument(
                    f"{field}.args: conditions on {name} need a newer libseccomp than {library_version()}"
                )
            continue
        for conditions in groups:
            try:
                wanted.add_rule(action, number, conditions)
            except OSError as exc:
                raise InvalidArgument(f"{field}: {name}: {exc.strerror}") from exc
            added += 1
    return added


def _condition_groups(rule: SeccompRule, *, field: str) -> list[list[tuple[int, int, int, int]]]:
    """Return the sets of conditions, each of which is enough.

    As in runc: conditions hold together, but once two of them are on the same argument, every one of the
    entry becomes a rule of its own. So "not 1 and not 2" allows everything: it is "not 1 or not 2".
    """
    conditions = [_condition(arg, field=field) for arg in rule.args]
    arguments = [condition[0] for condition in conditions]
    if len(set(arguments)) < len(arguments):
        return [[condition] for condition in conditions]
    return [conditions]


def _condition(arg: SeccompArg, *, field: str) -> tuple[int, int, int, int]:
    operator = libseccomp.OPERATORS.get(arg.op)
    if operator is None:
        raise InvalidArgument(f"{field}.args: {arg.op!r} is not an operator")
    if not 0 <= arg.index <= 5:
        raise InvalidArgument(f"{field}.args: index {arg.index} is not between 0 and 5")
    for value in (arg.value, arg.value_two):
        if not 0 <= value < 2**64:
            raise InvalidArgument(f"{field}.args: {value} does not fit into 64 bits")
    return (arg.index, operator, arg.value, arg.value_two)


def _prelude(wanted: Filter, profile: LinuxSeccomp, default: int, tokens: list[int]) -> bytes:
    """Return what stands before libseccomp's program; falling out of its end enters that program."""
    code = [_op(_LOAD, _ARCHITECTURE_AT)]
    for token in tokens:
        if token == _X32:
            continue  # the kernel shows x32 calls as x86_64 with a bit in the number
        section = _section(wanted, profile, default, token)
        if token == _X86_64:
            x32 = _section(wanted, profile, default, _X32) if _X32 in tokens else [_TO_FILTER]
            section = [_op(_IF_BITS, _X32_BIT, no=1), _op(_JUMP, len(section)), *section, *x32]
        code += [
            _op(_IF_EQUAL, token, yes=1),
            _op(_JUMP, len(section) + 1),
            _op(_LOAD, _NUMBER_AT),
            *section,
        ]
    if _RETURN not in (instruction[0] for instruction in code if instruction is not _TO_FILTER):
        return b""
    end = len(code)
    return b"".join(
        _op_bytes(_op(_JUMP, end - place - 1) if instruction is _TO_FILTER else instruction)
        for place, instruction in enumerate(code)
    )


Instruction = tuple[int, int, int, int]
_TO_FILTER: Instruction = (-1, 0, 0, 0)  # becomes a jump to the end of the prelude


def _section(wanted: Filter, profile: LinuxSeccomp, default: int, token: int) -> list[Instruction]:
    """Return the part of one architecture; the number of the call is in the accumulator."""
    code: list[Instruction] = []
    for number, action in sorted(_newer_rules(wanted, profile, default, token).items()):
        code += [_op(_IF_EQUAL, number, no=1), _op(_RETURN, action)]
    newest = _newest_call(wanted, profile, token)
    if profile.default_action not in _ALLOWING and newest is not None:
        code += [_op(_IF_GREATER, newest, no=1), _op(_RETURN, libseccomp.ERRNO | errno.ENOSYS)]
    return [*code, _TO_FILTER]


def _newer_rules(wanted: Filter, profile: LinuxSeccomp, default: int, token: int) -> dict[int, int]:
    """Return the actions, keyed by number, of calls that libseccomp cannot name; the first rule counts."""
    found: dict[int, int] = {}
    for rule in profile.syscalls:
        action = _action(rule.action, rule.errno_ret, field="linux.seccomp.syscalls")
        for name in rule.names:
            number = _newer_number(name, token)
            if number is not None and wanted.number(name, token) is None and action != default:
                found.setdefault(number, action)
    return found


def _newer_number(name: str, token: int) -> int | None:
    own = _NEWER_OF_ONE.get(token, {}).get(name)
    if own is not None:
        return own
    common = NEWER_CALLS.get(name)
    return None if common is None else common + _BASES.get(token, 0)


def _newest_call(wanted: Filter, profile: LinuxSeccomp, token: int) -> int | None:
    """Return the highest number on an architecture of any call that the profile names."""
    newest = -1
    for rule in profile.syscalls:
        for name in rule.names:
            number = wanted.number(name, token)
            if number is None:
                number = _newer_number(name, token)
            if number is not None and number > newest:
                newest = number
    return newest if newest >= 0 else None


def _op(code: int, operand: int, *, yes: int = 0, no: int = 0) -> Instruction:
    return (code, yes, no, operand)


def _op_bytes(instruction: Instruction) -> bytes:
    return _INSTRUCTION.pack(*instruction)
