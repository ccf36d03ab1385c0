"""Read query parameters as Docker does: booleans, numbers, times, and the two forms of filters."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sampan.engine.times import parse_until_ns
from sampan.errors import InvalidArgument

_FALSE: Final = frozenset(("", "0", "no", "false", "none"))
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_TIME: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")
_NS: Final = 1_000_000_000


def parse_flag(text: str) -> bool:
    """Read a boolean: a few words are false, all else is true."""
    return text.strip().lower() not in _FALSE


def parse_whole(text: str, *, name: str) -> int:
    """Read a whole number.

    Raises:
        InvalidArgument: text is none.
    """
    if _WHOLE.fullmatch(text) is None:
        raise InvalidArgument(f"invalid value {text[:40]!r} for {name}: must be a whole number")
    return int(text)


def parse_time_ns(text: str, *, name: str) -> int:
    """Read `seconds[.nanoseconds]` since 1970 as nanoseconds.

    Raises:
        InvalidArgument: text has another form.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise InvalidArgument(
            f"invalid value {text[:40]!r} for {name}: must be seconds[.nanoseconds] since 1970"
        )
    seconds, fraction = found.groups(default="")
    return int(seconds) * _NS + int(fraction.ljust(9, "0"))


def parse_moment_ns(text: str, *, name: str) -> int:
    """Read `seconds[.nanoseconds]` since 1970, an RFC 3339 time, or a duration back from now (`10m`).

    Raises:
        InvalidArgument: text has another form.
    """
    if _TIME.fullmatch(text) is not None:
        return parse_time_ns(text, name=name)
    try:
        return parse_until_ns(text)
    except InvalidArgument as exc:
        raise InvalidArgument(
            f"invalid value {text[:40]!r} for {name}: must be seconds[.nanoseconds] since 1970, "
            "a time as 2006-01-02T15:04:05Z, or a duration as 10m"
        ) from exc


def parse_filters(text: str) -> dict[str, list[str]]:
    """Read `filters`: `{"status":{"running":true}}` or `{"status":["running"]}`; empty is no filter.

    Raises:
        InvalidArgument: text has neither form.
    """
    if not text.strip():
        return {}
    try:
        document = msgspec.json.decode(text, type=dict[str, dict[str, bool] | list[str]])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise InvalidArgument(f"invalid filter {text[:80]!r}: {exc}") from exc
    return {key: _wanted(values) for key, values in document.items()}


def _wanted(values: dict[str, bool] | list[str]) -> list[str]:
    """Return the values of one key; `{"x": false}` names x all the same, as in Docker."""
    return list(values)
