"""Times as the Docker API writes them, and as people read them."""

from __future__ import annotations

import re
import time
from typing import Final

from sampan.errors import InvalidArgument
from sampan.spec import docker
from sampan.spec.times import parse_time_ns

_SECOND_NS: Final = 10**9
_UNITS_NS: Final = {"ms": 10**6, "s": _SECOND_NS, "m": 60 * _SECOND_NS, "h": 3600 * _SECOND_NS}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")


def format_time(time_ns: int) -> str:
    """Return RFC 3339 with nanoseconds, in UTC; 0 is Docker's "never"."""
    if not time_ns:
        return docker.ZERO_TIME
    seconds, fraction = divmod(time_ns, _SECOND_NS)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_until_ns(text: str) -> int:
    """Return ns since 1970 of a filter's `until`: unix seconds, a duration back from now, or RFC 3339.

    Raises:
        InvalidArgument: another form.
    """
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text) * _SECOND_NS
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return time.time_ns() - sum(int(float(number) * _UNITS_NS[unit]) for number, unit in parts)
    try:
        return parse_time_ns(text if "T" in text else f"{text}T00:00:00Z")
    except InvalidArgument as exc:
        raise InvalidArgument(f'failed to parse value as time or duration: "{text[:80]}"') from exc
