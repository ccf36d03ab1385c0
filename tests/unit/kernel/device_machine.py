"""Two readings of device rules to hold the real ones against: the documented meaning, and an eBPF machine."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sampan.kernel.cgroups.devices import ANY, Rule

Exceptions = dict[tuple[str, int, int], int]
_TYPES = {"b": 1, "c": 2}


def allowed_by_rules(rules: Sequence[Rule], kind: str, major: int, minor: int, access: int) -> bool:
    """Return what rules mean: for each access alone the last rule that matches; without one, no."""
    for bit in (1, 2, 4):
        if access & bit:
            verdict = False
            for rule in rules:
                if (
                    rule.type in ("a", kind)
                    and rule.major in (ANY, major)
                    and rule.minor in (ANY, minor)
                    and rule.access & bit
                ):
                    verdict = rule.allow
            if not verdict:
                return False
    return True


def allowed_by_v1(
    default: bool, exceptions: Exceptions, kind: str, major: int, minor: int, access: int
) -> bool:
    """Return what the v1 kernel answers (security/device_cgroup.c, devcgroup_legacy_check_permission).

    With the default to deny one exception must grant all that is asked for. An exception that the kernel is
    told in two lines is one entry, so the entries of several nodes are looked at each for itself.
    """
    matching = [
        bits
        for (other_kind, other_major, other_minor), bits in exceptions.items()
        if other_kind == kind and other_major in (ANY, major) and other_minor in (ANY, minor)
    ]
    if default:
        return not any(bits & access for bits in matching)
    return any(not access & ~bits for bits in matching)


def run_program(program: bytes, kind: str, major: int, minor: int, access: int) -> int:
    """Run a device program as the kernel would and return its result."""
    code = list(struct.iter_unpack("=BBhi", program))
    context = struct.pack("=III", access << 16 | _TYPES[kind], major, minor)
    registers = [0] * 11
    place = 0
    for _ in range(len(code) + 1):  # no backward jumps, so no more steps than instructions
        operation, pair, offset, constant = code[place]
        target, source = pair & 15, pair >> 4
        operand = constant & 0xFFFFFFFF
        place += 1
        match operation:
            case 0x61:
                (registers[target],) = struct.unpack_from("=I", context, offset)
            case 0xBC:
                registers[target] = registers[source] & 0xFFFFFFFF
            case 0xB7:
                registers[target] = constant
            case 0x54:
                registers[target] &= operand
            case 0x74:
                registers[target] >>= operand
            case 0x56:
                place += offset if registers[target] != operand else 0
            case 0x46:
                place += offset if registers[target] & operand else 0
            case 0x05:
                place += offset
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"instruction {operation:#x}")
        assert offset >= 0
    raise AssertionError("the program did not end")
