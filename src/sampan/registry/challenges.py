"""`WWW-Authenticate` headers: which schemes a server takes. Source: RFC 9110, section 11.6.1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_MAX_HEADER: Final = 8192
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 -- a grammar rule
_PIECE = re.compile(rf'\s*({_TOKEN})(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}[=]*)))?\s*,?')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme, in lower case, with its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Return the challenges of all headers in order; what cannot be read ends its header."""
    found: list[Challenge] = []
    for header in headers:
        found += _parse(header[:_MAX_HEADER])
    return found


def find_challenge(challenges: Sequence[Challenge], scheme: str) -> Challenge | None:
    """Return the first challenge of a scheme."""
    return next((one for one in challenges if one.scheme == scheme), None)


def _parse(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    scheme = ""
    parameters: dict[str, str] = {}
    position = 0
    while position < len(header) and (match := _PIECE.match(header, position)):
        position = match.end()
        name, quoted, plain = match.groups()
        if quoted is None and plain is None:
            scheme, parameters = name.lower(), {}
            found.append(Challenge(scheme, parameters))
        elif found:
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            parameters.setdefault(name.lower(), value)
    return found
