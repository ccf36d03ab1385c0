"""Digests as repositories of a registry name content by: sha256 or sha512.

Content lies under its sha256 digest whatever it is called, so the same bytes are kept once.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from sampan.errors import InvalidArgument

ContentName = NewType("ContentName", str)

_FORM = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})", re.ASCII)


def parse_content_name(text: str) -> ContentName:
    """Check a digest that came from outside.

    Raises:
        InvalidArgument: it is neither sha256 nor sha512, or has another form.
    """
    if _FORM.fullmatch(text) is None:
        raise InvalidArgument(f"digest {text[:200]!r} is not sha256 or sha512 and its hexadecimal digits")
    return ContentName(text)


def is_name_of(name: ContentName, data: bytes) -> bool:
    """Tell whether data has the digest name."""
    algorithm, _, digits = name.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == digits
