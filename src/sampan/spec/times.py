"""Times in documents: RFC 3339."""

from __future__ import annotations

import calendar
import re
import time
from typing import Final

from sampan.errors import InvalidArgument

_SECOND_NS: Final = 10**9
_ZONE: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})$")


def parse_time_ns(text: str) -> int:
    """Return ns since 1970 of `2006-01-02T15:04:05[.fraction]`, UTC unless `+01:00` or the like follows.

    Raises:
        InvalidArgument: another form.
    """
    zone = _ZONE.search(text)
    whole, _, fraction = (text[: zone.start()] if zone else text.removesuffix("Z")).partition(".")
    try:
        seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
        ahead_s = int(f"{zone[1]}1") * (int(zone[2]) * 3600 + int(zone[3]) * 60) if zone else 0
        return (seconds - ahead_s) * _SECOND_NS + int(f"{fraction:0<9}"[:9])
    except ValueError as exc:
        raise InvalidArgument(f"invalid time {text!r}") from exc
