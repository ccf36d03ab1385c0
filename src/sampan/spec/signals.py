"""Signal names and numbers as users write them."""

from __future__ import annotations

import signal

from sampan.errors import InvalidArgument

_RTMIN, _RTMAX = 34, 64  # as libc sees them; 32 and 33 are its own (signal(7))
_NUMBERS = {entry.name: entry.value for entry in signal.Signals if not entry.name.startswith("SIGRT")}
_NAMES = {number: name.removeprefix("SIG") for name, number in reversed(_NUMBERS.items())}


def parse_signal(text: str) -> int:
    """Return the number of `9`, `KILL`, `SIGKILL`, `RTMIN+3` (any case).

    Raises:
        InvalidArgument: no such signal.
    """
    if text.isascii() and text.isdigit() and len(text) <= 2 and 0 < int(text) <= _RTMAX:
        return int(text)
    name = text.upper().removeprefix("SIG")
    number = _NUMBERS.get("SIG" + name) or _parse_realtime(name)
    if number is None:
        raise InvalidArgument(f"invalid signal: {text}")
    return number


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15, `SIGRTMIN+3` for 37; `signal 32` for one without a name."""
    if number in _NAMES:
        return f"SIG{_NAMES[number]}"
    if not _RTMIN <= number <= _RTMAX:
        return f"signal {number}"
    return f"SIGRTMIN+{number - _RTMIN}" if number > _RTMIN else "SIGRTMIN"


def _parse_realtime(name: str) -> int | None:
    for base, start, sign in (("RTMIN", _RTMIN, 1), ("RTMAX", _RTMAX, -1)):
        if not name.startswith(base):
            continue
        rest = name.removeprefix(base).lstrip("+-")
        if rest and not (rest.isascii() and rest.isdigit() and len(rest) <= 2):
            return None
        number = start + sign * int(rest or "0")
        return number if _RTMIN <= number <= _RTMAX else None
    return None
