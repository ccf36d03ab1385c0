"""Options of the volume driver `local`: read once at create, followed at each mount. docs/volumes.md.

Source: moby, volume/local/local_unix.go (names, what needs what, texts).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sampan.errors import InvalidArgument

_KNOWN: Final = frozenset(("type", "o", "device", "size", "uid", "gid"))
_NEEDS: Final = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_MAX_ID: Final = 2**32 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMount:
    """A mount that is made on a volume's directory while somebody uses it; options as mount(8) takes them."""

    fstype: str
    device: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """What the options of a volume mean. uid, gid: owner of its directory; quota_bytes 0: no limit."""

    mount: LocalMount | None = None
    quota_bytes: int = 0
    uid: int | None = None
    gid: int | None = None


def parse_local_options(options: Mapping[str, str]) -> LocalOptions:
    """Read driver options.

    Raises:
        InvalidArgument: an unknown one, a missing one, a bad value; in Docker's words.
    """
    for key in options:
        if key not in _KNOWN:
            raise InvalidArgument(f'invalid option: "{key}"', hint=f"options: {' '.join(sorted(_KNOWN))}")
    for key, needed in _NEEDS.items():
        for other in needed:
            if key in options and other not in options:
                raise InvalidArgument(f'missing required option: "{other}"')
    if any("\0" in text for text in options.values()):
        raise InvalidArgument("invalid option: NUL inside")
    words = tuple(word for word in options.get("o", "").split(",") if word)
    mount = None
    if options.get("type") or options.get("device"):
        mount = LocalMount(fstype=options["type"], device=options["device"], options=words)
    return LocalOptions(
        mount=mount,
        quota_bytes=parse_size(options["size"]) if "size" in options else 0,
        uid=_parse_id(options, "uid"),
        gid=_parse_id(options, "gid"),
    )


def parse_size(text: str) -> int:
    """Read a size such as `10m`: units are powers of 1024.

    Raises:
        InvalidArgument: text is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    return int(float(found.group(1)) * (1 << _UNITS[found.group(2).lower()]))


def _parse_id(options: Mapping[str, str], key: str) -> int | None:
    text = options.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID):
        raise InvalidArgument(f'invalid option "{key}": {text!r} is not a number of a user or group')
    return int(text)
