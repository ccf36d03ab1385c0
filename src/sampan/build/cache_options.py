"""`--cache-from` and `--cache-to` as text: `type=registry,ref=…`, `type=local,src=…`, `type=inline`, a name.

Source: docker/buildx docs, "Cache storage backends"; BuildKit README, "Export cache". Pure.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sampan.errors import InvalidArgument, Unsupported
from sampan.store.references import parse_reference

Kind = Literal["registry", "local", "inline"]
_KINDS: Final[tuple[Kind, ...]] = ("registry", "local", "inline")
_FROM: Final = {"registry": ("ref",), "local": ("src", "digest", "tag"), "inline": ()}
_TO: Final = {"registry": ("ref",), "local": ("dest", "tag"), "inline": ()}
# How BuildKit packs layers: here they are gzip, so that each is packed once for all.
_IGNORED: Final = ("compression", "compression-level", "force-compression", "name", "registry.insecure")
_SHAPE: Final = ("mode", "ignore-error", "image-manifest", "oci-mediatypes")
_LATEST: Final = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFromOption:
    """One `--cache-from`. place: an image's name, or a directory. plain: only a name was written."""

    kind: Kind
    place: str
    digest: str = ""
    tag: str = _LATEST
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheToOption:
    """One `--cache-to`. whole: steps of all stages (mode=max), not only the image's own."""

    kind: Kind
    place: str = ""
    tag: str = _LATEST
    whole: bool = False
    may_fail: bool = False
    as_index: bool = False
    docker_types: bool = False


def parse_fields(text: str, *, option: str) -> dict[str, str]:
    """Read `key=value,…`, quoted as CSV.

    Raises:
        InvalidArgument: a part is no pair.
    """
    found = {}
    for part in next(csv.reader([text]), []):
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidArgument(f"{option} {text!r}: {part!r} is not key=value")
        found[key.strip().lower()] = value.strip()
    return found


def parse_cache_from(text: str) -> CacheFromOption:
    """Read one `--cache-from`.

    Raises:
        InvalidArgument: it is malformed. Unsupported: a kind that is not there.
    """
    option = "--cache-from"
    if "=" not in text:
        if not text:
            raise InvalidArgument(f"{option}: a name is missing")
        parse_reference(text)
        return CacheFromOption(kind="registry", place=text, plain=True)
    fields = parse_fields(text, option=option)
    return read_cache_from(fields.pop("type", ""), fields)


def read_cache_from(kind: str, fields: Mapping[str, str], *, strict: bool = True) -> CacheFromOption:
    """Read one by its kind and attributes, unknown ones too unless strict; else as `parse_cache_from`."""
    shown = f"--cache-from type={kind}"
    known = _kind(kind, shown)
    if known == "inline":
        raise InvalidArgument(f"{shown}: name the image that has it: type=registry,ref=IMAGE")
    if strict:
        _check(fields, (*_FROM[known], *_IGNORED), shown)
    place = fields.get("ref" if known == "registry" else "src", "")
    if not place:
        raise InvalidArgument(f"{shown}: {'ref' if known == 'registry' else 'src'} is missing")
    if known == "registry":
        parse_reference(place)
    return CacheFromOption(
        kind=known, place=place, digest=fields.get("digest", ""), tag=fields.get("tag") or _LATEST
    )


def parse_cache_to(text: str) -> CacheToOption:
    """Read one `--cache-to`; else as `parse_cache_from`."""
    option = "--cache-to"
    if text == "inline":
        return CacheToOption(kind="inline")
    if "=" not in text:
        return read_cache_to("registry", {"ref": text})
    fields = parse_fields(text, option=option)
    return read_cache_to(fields.pop("type", ""), fields)


def read_cache_to(kind: str, fields: Mapping[str, str], *, strict: bool = True) -> CacheToOption:
    """Read one by its kind and attributes; else as `read_cache_from`."""
    shown = f"--cache-to type={kind}"
    known = _kind(kind, shown)
    if strict:
        _check(fields, (*_TO[known], *_SHAPE, *_IGNORED), shown)
    key = {"registry": "ref", "local": "dest", "inline": ""}[known]
    if key and not fields.get(key):
        raise InvalidArgument(f"{shown}: {key} is missing")
    if known == "registry":
        parse_reference(fields[key])
    mode = fields.get("mode", "min")
    if mode not in ("min", "max"):
        raise InvalidArgument(f"{shown}: mode {mode!r} is neither min nor max")
    is_oci = _truth(fields, "oci-mediatypes", default=True, shown=shown)
    return CacheToOption(
        kind=known,
        place=fields.get(key, "") if key else "",
        tag=fields.get("tag") or _LATEST,
        whole=mode == "max",
        may_fail=_truth(fields, "ignore-error", default=False, shown=shown),
        as_index=not _truth(fields, "image-manifest", default=is_oci, shown=shown),
        docker_types=not is_oci,
    )


def _kind(kind: str, shown: str) -> Kind:
    for known in _KINDS:
        if kind == known:
            return known
    raise Unsupported(f"{shown}: there is no such cache here", hint=f"one of {', '.join(_KINDS)}")


def _check(fields: Mapping[str, str], known: tuple[str, ...], shown: str) -> None:
    for name in fields:
        if name not in known:
            raise InvalidArgument(f"{shown}: {name!r} is none of {', '.join(known)}")


def _truth(fields: Mapping[str, str], name: str, *, default: bool, shown: str) -> bool:
    text = fields.get(name, "").lower()
    if not text:
        return default
    if text in ("1", "t", "true"):
        return True
    if text in ("0", "f", "false"):
        return False
    raise InvalidArgument(f"{shown}: {name} {text!r} is neither true nor false")
