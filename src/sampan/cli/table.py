"""Tables as docker prints them, and times and sizes in words. Lean (decision 0002).

Columns are at least ten wide and three apart; the last one is not padded (Go's text/tabwriter with 10, 1, 3).
"""

from __future__ import annotations

import time

from sampan.durations import describe_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MIN_WIDTH, _GAP = 10, 3
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def render(rows: Sequence[Sequence[str]], *, min_width: int = _MIN_WIDTH) -> str:
    """Return rows, the heading first, as lines with aligned columns."""
    if not rows:
        return ""
    widths = [max(min_width, *(len(row[at]) + _GAP for row in rows)) for at in range(len(rows[0]) - 1)]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] for row in rows
    ]
    return "\n".join(lines) + "\n"


def shorten(text: str, width: int) -> str:
    """Cut text to width characters, the last of them an ellipsis if something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def short_id(text: str) -> str:
    """Return the twelve digits that stand for an id or digest."""
    return text.removeprefix("sha256:")[:12]


def human_size(size: float, *, digits: int = 4) -> str:
    """Return a size in decimal units with some significant digits: `1.23MB`, `64kB`, `512B`."""
    step = 0
    while size >= 1000 and step < len(_UNITS) - 1:
        size /= 1000
        step += 1
    return f"{size:.{digits}g}{_UNITS[step]}"


def binary_size(size: float) -> str:
    """Return a size in binary units with four significant digits: `1.5GiB`, `64MiB`, `512B`."""
    step = 0
    while size >= 1024 and step < len(_BINARY_UNITS) - 1:
        size /= 1024
        step += 1
    return f"{size:.4g}{_BINARY_UNITS[step]}"


def ago(unix: float, now: float | None = None) -> str:
    """Return how long ago a moment was: `5 minutes ago`."""
    return describe_duration((time.time() if now is None else now) - unix) + " ago"


def local_time(unix: float) -> str:
    """Return a moment as Go prints one: `2026-01-02 15:04:05 +0000 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(unix))


def parse_time(text: str) -> float:
    """Return the unix time of an RFC 3339 text, `2026-01-02T15:04:05.678Z`; 0 for none or year 1.

    Raises:
        ValueError: text is no such time.
    """
    if not text or text.startswith("0001-"):
        return 0.0
    day, _, rest = text.replace(" ", "T", 1).partition("T")
    clock, offset = rest.removesuffix("Z"), 0
    for sign in "+-":
        if sign in clock:
            clock, _, zone = clock.partition(sign)
            hours, _, minutes = zone.partition(":")
            offset = (int(hours) * 3600 + int(minutes or "0") * 60) * (1 if sign == "+" else -1)
    year, month, date = (int(part) for part in day.split("-"))
    hour, minute, second = (*clock.split(":"), "0", "0", "0")[:3] if clock else ("0", "0", "0")
    days = _days(year, month, date)
    of_day = int(hour) * 3600 + int(minute) * 60 + float(second)
    if time.gmtime(days * 86400)[:3] != (year, month, date) or not 0 <= of_day < 86401:
        raise ValueError(f"{text!r} is no time")
    return days * 86400 + of_day - offset


def _days(year: int, month: int, day: int) -> int:
    """Count days since 1970-01-01 in the Gregorian calendar, by years that begin in March."""
    if month < 3:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
