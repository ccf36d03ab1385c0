"""The value of RUN's `--mount`. Source: BuildKit, reference.md, "RUN --mount"."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from typing import Final

from sampan.build.instructions import Mount
from sampan.build.syntax import did_you_mean
from sampan.build.words import WordError

_KINDS: Final = ("bind", "cache", "tmpfs", "secret", "ssh")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "bind": ("target", "source", "from", "readonly", "readwrite"),
    "cache": ("target", "id", "sharing", "from", "source", "mode", "uid", "gid", "readonly", "readwrite"),
    "tmpfs": ("target", "size"),
    "secret": ("id", "source", "target", "env", "required", "mode", "uid", "gid"),
    "ssh": ("id", "target", "required", "mode", "uid", "gid"),
}
_ALIASES: Final = {
    "dst": "target",
    "destination": "target",
    "src": "source",
    "ro": "readonly",
    "rw": "readwrite",
}
_SWITCHES: Final = ("readonly", "readwrite", "required")
_SIZE = re.compile(r"(\d+)([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def check_mount(text: str) -> None:
    """Refuse what is wrong whatever the variables hold.

    Raises:
        WordError: an unknown key or type.
    """
    fields = _fields(text)
    kind = fields.get("type", "bind").lower()
    if "$" not in kind:
        _check_keys(kind, fields)


def parse_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """Read a mount; expand puts variables into its values, but not into `from`.

    Raises:
        WordError: a key or value is wrong.
    """
    fields = {key: value if key == "from" else expand(value) for key, value in _fields(text).items()}
    kind = fields.pop("type", "bind").lower()
    _check_keys(kind, fields)
    if "$" in fields.get("from", ""):
        raise WordError(f"variable expansion is not supported for the from of a mount: {fields['from']}")
    mount_id = fields.get("id", "") or (fields.get("source", "") if kind == "secret" else "")
    target = fields.get("target", "")
    if not target and kind in ("bind", "cache", "tmpfs"):
        raise WordError("target is required")
    sharing = fields.get("sharing", "shared").lower()
    if sharing not in ("shared", "private", "locked"):
        raise WordError(f"unsupported sharing value {sharing!r}: shared, private or locked")
    if kind == "cache" and "source" in fields and "from" not in fields:
        raise WordError("source of a cache mount needs from: what the cache begins with")
    if kind == "secret" and not (mount_id or target):
        raise WordError("a secret needs an id or a target")
    return Mount(
        kind=kind,
        target=target,
        source=fields.get("source", "") if kind != "secret" else "",
        from_=fields.get("from", ""),
        id=mount_id,
        sharing=sharing,
        read_only=_is_read_only(kind, fields),
        required=_switch(fields, "required"),
        mode=_octal(fields, "mode"),
        uid=_whole(fields, "uid"),
        gid=_whole(fields, "gid"),
        size_bytes=_size(fields.get("size", "")),
        env=fields.get("env", ""),
    )


def _fields(text: str) -> dict[str, str]:
    try:
        parts = next(csv.reader([text], strict=True), [])
    except csv.Error as exc:
        raise WordError(f"mount {text!r} is no list of key=value: {exc}") from exc
    fields: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        key = _ALIASES.get(key, key)
        if not equals and key not in _SWITCHES:
            raise WordError(f"invalid field {part!r} must be a key=value pair")
        fields[key] = value if equals else "true"
    return fields


def _check_keys(kind: str, fields: Mapping[str, str]) -> None:
    if kind not in _KINDS:
        raise WordError(f"unsupported mount type {kind!r}{did_you_mean(kind, _KINDS)}")
    for key in fields:
        if key != "type" and key not in _KEYS[kind]:
            raise WordError(f"unexpected key {key!r} for mount type {kind!r}{did_you_mean(key, _KEYS[kind])}")


def _is_read_only(kind: str, fields: Mapping[str, str]) -> bool:
    if "readwrite" in fields:
        return not _switch(fields, "readwrite")
    return _switch(fields, "readonly") if "readonly" in fields else kind == "bind"


def _switch(fields: Mapping[str, str], key: str) -> bool:
    value = fields.get(key, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise WordError(f"invalid value for {key}: {value}")
    return value in ("true", "1")


def _octal(fields: Mapping[str, str], key: str) -> int | None:
    if key not in fields:
        return None
    if not re.fullmatch(r"[0-7]{1,5}", fields[key]):
        raise WordError(f"invalid value {fields[key]!r} for {key}")
    return int(fields[key], 8)


def _whole(fields: Mapping[str, str], key: str) -> int | None:
    if key not in fields:
        return None
    if not re.fullmatch(r"\d{1,10}", fields[key], re.ASCII):
        raise WordError(f"invalid value {fields[key]!r} for {key}")
    return int(fields[key])


def _size(text: str) -> int:
    if not text:
        return 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise WordError(f"invalid value for size: {text}")
    return int(match[1]) * _UNITS[match[2].lower()]
