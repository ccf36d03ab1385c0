"""What every part of the Engine API uses."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Struct

from sampan.spec.gojson import ONE_OR_MANY

API_VERSION: Final = "1.51"
MIN_API_VERSION: Final = "1.24"
ZERO_TIME: Final = "0001-01-01T00:00:00Z"

StrList = list[str]
StrMap = dict[str, str]
Words = Annotated[list[str] | None, ONE_OR_MANY]  # a bare string stands for a list of one


class Empty(Struct, frozen=True):
    """The `{}` that Go writes for the members of a set."""
