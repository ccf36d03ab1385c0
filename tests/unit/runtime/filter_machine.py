"""A classic BPF machine for seccomp filters: what would the kernel answer to this call?"""

from __future__ import annotations

import struct
from collections.abc import Sequence

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000
ALLOW, KILL = 0x7FFF0000, 0
ENOSYS, EPERM = 0x00050000 | 38, 0x00050000 | 1


class Machine:
    """A compiled filter, ready to be asked."""

    def __init__(self, program: bytes) -> None:
        self.code = list(struct.iter_unpack("=HBBI", program))

    def ask(self, number: int, *, arch: int = X86_64, args: Sequence[int] = ()) -> int:
        """Return the filter's answer for a call."""
        data = struct.pack("=IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
        accumulator = place = 0
        for _ in range(len(self.code)):  # classic BPF only jumps forward
            code, yes, no, operand = self.code[place]
            place += 1
            match code:
                case 0x20:
                    (accumulator,) = struct.unpack_from("=I", data, operand)
                case 0x54:
                    accumulator &= operand
                case 0x05:
                    place += operand
                case 0x15:
                    place += yes if accumulator == operand else no
                case 0x25:
                    place += yes if accumulator > operand else no
                case 0x35:
                    place += yes if accumulator >= operand else no
                case 0x45:
                    place += yes if accumulator & operand else no
                case 0x06:
                    return int(operand)
                case _:
                    raise AssertionError(f"instruction {code:#x} at {place - 1}")
        raise AssertionError("the filter did not end")
