"""Addresses as bytes, subnets, and names of reverse look-ups, without `ipaddress`. Lean."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from sampan.errors import InvalidArgument
from sampan.lean import record

_V4 = ".in-addr.arpa"
_V6 = ".ip6.arpa"
_HEX = "0123456789abcdef"


def parse_address(text: str) -> bytes:
    """Return the 4 or 16 bytes of an address.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError) as exc:
        raise InvalidArgument(f"{text!r} is no address") from exc


def format_address(address: bytes) -> str:
    """Return an address as text."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


@record
class Subnet:
    """The addresses whose first `prefix` bits are those of `base`."""

    base: bytes
    prefix: int

    def holds(self, address: bytes) -> bool:
        """Tell whether address is one of them."""
        return len(address) == len(self.base) and common_prefix(address, self.base) >= self.prefix


def parse_subnet(text: str) -> Subnet:
    """Return a subnet written as `address/bits`.

    Raises:
        InvalidArgument: it is none.
    """
    address, _, bits = text.partition("/")
    base = parse_address(address)
    if not (bits.isascii() and bits.isdigit() and len(bits) <= 3 and int(bits) <= len(base) * 8):
        raise InvalidArgument(f"{text!r} is no subnet")
    return Subnet(base=base, prefix=int(bits))


def common_prefix(one: bytes, other: bytes) -> int:
    """Return how many bits two addresses of one family have in common from the left."""
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) * 8 - difference.bit_length()


def parse_reverse(name: str) -> bytes | None:
    """Return the whole address that a name such as 2.0.18.172.in-addr.arpa is for, or None."""
    if name.endswith(_V4):
        parts = name[: -len(_V4)].split(".")
        plain = all(part.isascii() and part.isdigit() and part == str(int(part[:4])) for part in parts)
        if len(parts) == 4 and plain and all(int(part) < 256 for part in parts):
            return bytes(int(part) for part in reversed(parts))
    elif name.endswith(_V6):
        digits = name[: -len(_V6)].split(".")
        if len(digits) == 32 and all(len(digit) == 1 and digit in _HEX for digit in digits):
            return bytes.fromhex("".join(reversed(digits)))
    return None
