"""HEALTHCHECK's options and test. Source: BuildKit, reference.md, "HEALTHCHECK"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sampan.build.instructions import Healthcheck
from sampan.build.lexing import parse_json
from sampan.build.syntax import Node, did_you_mean
from sampan.build.words import WordError

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_NS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LEAST_NS: Final = 10**6


def parse_healthcheck(node: Node, options: Mapping[str, str]) -> Healthcheck:
    """Read an instruction whose flags were split off.

    Raises:
        WordError: its type or an option is wrong.
    """
    kind, _, rest = node.text.partition(" ")
    rest = rest.strip()
    if not kind:
        raise WordError("HEALTHCHECK requires at least one argument")
    if kind.upper() == "NONE":
        if rest:
            raise WordError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(node=node, test=("NONE",))
    if kind.upper() != "CMD":
        raise WordError(
            f"Unknown type {kind.upper()!r} in HEALTHCHECK (try CMD){did_you_mean(kind, ('CMD', 'NONE'))}"
        )
    if not rest:
        raise WordError("Missing command after HEALTHCHECK CMD")
    words = parse_json(rest)
    return Healthcheck(
        node=node,
        test=("CMD-SHELL", rest) if words is None else ("CMD", *words),
        interval_ns=_interval(options, "interval"),
        timeout_ns=_interval(options, "timeout"),
        start_period_ns=_interval(options, "start-period"),
        start_interval_ns=_interval(options, "start-interval"),
        retries=_retries(options.get("retries", "")),
    )


def _interval(options: Mapping[str, str], name: str) -> int:
    text = options.get(name, "")
    value = parse_duration_ns(text) if text else 0
    if value < 0 or 0 < value < _LEAST_NS:
        raise WordError(f"Interval {name!r} cannot be less than 1ms")
    return value


def parse_duration_ns(text: str) -> int:
    """Read a Go duration.

    Raises:
        WordError: it has another form.
    """
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text)
    if body == "0":
        return 0
    total, at = 0.0, 0
    while at < len(body):
        match = _DURATION.match(body, at)
        if match is None:
            break
        total += float(match[1]) * _NS[match[2]]
        at = match.end()
    if not body or at != len(body):
        raise WordError(f"time: invalid duration {text!r}")
    return sign * round(total)


def _retries(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise WordError(f"--retries {text!r} is no number")
    if int(text) < 0:
        raise WordError(f"--retries cannot be negative ({int(text)})")
    return int(text)
