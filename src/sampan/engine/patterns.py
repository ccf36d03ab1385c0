"""Regular expressions that clients send as filters: bounded, for Python's engine backtracks."""

from __future__ import annotations

import re
from typing import Final

from sampan.errors import InvalidArgument

_MAX_LENGTH: Final = 256
_MAX_REPEATS: Final = 4  # with no repeated groups the work is a polynomial of this degree
_REPEATED_GROUP: Final = re.compile(r"\)\s*[*+{?]")
_REPEAT: Final = re.compile(r"[*+{]")


def compile_filter(text: str, *, key: str) -> re.Pattern[str]:
    """Compile a filter's value.

    Differs: patterns that could run for ever on names of 255 characters are refused.

    Raises:
        InvalidArgument: no regular expression, or one too costly.
    """
    costly = (
        len(text) > _MAX_LENGTH
        or _REPEATED_GROUP.search(text) is not None
        or len(_REPEAT.findall(text)) > _MAX_REPEATS
    )
    if costly:
        raise InvalidArgument(f"invalid filter '{key}={text[:80]}': the pattern is too complex")
    try:
        return re.compile(text)
    except re.error as exc:
        raise InvalidArgument(f"invalid filter '{key}={text}': {exc}") from exc
