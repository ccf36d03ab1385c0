"""Detach keys as users write them: `ctrl-p,ctrl-q`, `ctrl-\\`, `a,b`."""

from __future__ import annotations

from typing import Final

from sampan.errors import InvalidArgument

DEFAULT: Final = b"\x10\x11"  # ctrl-p, ctrl-q
_SPECIAL: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}
_MAX_KEYS: Final = 16


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes that a terminal sends for these keys; "" is the default.

    Raises:
        InvalidArgument: no such key.
    """
    if not text:
        return DEFAULT
    keys = text.split(",")
    if len(keys) > _MAX_KEYS:
        raise InvalidArgument(f"invalid detach keys {text[:80]!r}: at most {_MAX_KEYS}")
    return bytes(_parse_key(key, text) for key in keys)


def _parse_key(key: str, text: str) -> int:
    if len(key) == 1 and key.isascii():
        return ord(key)
    name = key.lower().removeprefix("ctrl-")
    if key.lower().startswith("ctrl-") and len(name) == 1:
        if "a" <= name <= "z":
            return ord(name) - ord("a") + 1
        if name in _SPECIAL:
            return _SPECIAL[name]
    raise InvalidArgument(f"invalid detach keys {text[:80]!r}: unknown key {key!r}")
