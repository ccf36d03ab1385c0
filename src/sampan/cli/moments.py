"""Times of `--since` and `--until`, as the API takes them: seconds, with nanoseconds after a point. Lean."""

from __future__ import annotations

import time

from sampan.cli.outcome import UsageError
from sampan.cli.table import parse_time
from sampan.cli.values import parse_duration


def parse_moment(flag: str, text: str) -> str:
    """Return `seconds.nanoseconds` for a unix time, an RFC 3339 time, a local time, or how long ago (`10m`).

    Raises:
        UsageError: text is none of these.
    """
    if text.replace(".", "", 1).isdigit():
        return text
    if text[:1].isdigit() and "-" in text[:5]:
        return _from_date(flag, text)
    try:
        back = parse_duration(flag, text.removeprefix("-"))
    except UsageError as exc:
        raise UsageError(f"{flag}: {text!r} is neither a time nor a duration", hint=_FORMS) from exc
    return _nanoseconds(time.time_ns() - back)


_FORMS = "2026-01-02T15:04:05Z, 2026-01-02, 1767366245 or 10m"


def _from_date(flag: str, text: str) -> str:
    local = not text.endswith("Z") and "+" not in text and text.count("-") < 3
    whole, fraction_ns = _split_fraction(text)
    try:
        moment = int(parse_time(whole))
        if local:
            moment = int(time.mktime((*time.gmtime(moment)[:8], -1)))
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{flag}: {text!r} is no time", hint=_FORMS) from exc
    return _nanoseconds(moment * 1_000_000_000 + fraction_ns)


def _split_fraction(text: str) -> tuple[str, int]:
    """Return text without its fraction of a second, and that in ns: a float would lose digits."""
    before, point, behind = text.partition(".")
    rest = behind.lstrip("0123456789")
    digits = behind[: len(behind) - len(rest)]
    if not point or not digits:
        return text, 0
    return before + rest, int(f"{digits:0<9}"[:9])


def _nanoseconds(total: int) -> str:
    return f"{total // 1_000_000_000}.{total % 1_000_000_000:09d}"
