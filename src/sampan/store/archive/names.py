"""Names in archives: cleaned as text before anything is opened."""

from __future__ import annotations

from typing import Final

from sampan.errors import InvalidArgument

WHITEOUT: Final = b".wh."
WHITEOUT_META: Final = b".wh..wh."
OPAQUE: Final = b".wh..wh..opq"


def clean_name(raw: bytes, *, limit_bytes: int) -> bytes:
    """Return a relative path without empty, `.` and `..` parts; b"" is the root itself.

    `..` is resolved in the text, as Docker does; a name that leaves the root is refused.

    Raises:
        InvalidArgument: the name leaves the root, or is too long.
    """
    if len(raw) > limit_bytes:
        raise InvalidArgument(f"archive: name of {len(raw)} bytes; {limit_bytes} is the most")
    name = raw.rstrip(b"/")
    if name.startswith(b"./"):
        name = name[2:]
    if b"/." not in name and b"//" not in name and not name.startswith((b"/", b".")):
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidArgument(f"archive: name {raw[:200]!r} leads out of the root")
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)
