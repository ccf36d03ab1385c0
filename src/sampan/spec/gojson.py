"""Decode JSON into structs with the leniency of Go's decoder, which the Docker API's clients rely on.

- null is the zero value of any field, and of any entry of a map;
- field names match in any case (an exact match wins, the last of several counts, as in Go);
- unknown fields are ignored;
- a field marked `ONE_OR_MANY` takes a bare string for a list of one (Docker's strslice).

Stricter than Go: NaN is no JSON, and documents deeper than `MAX_DEPTH` are refused before they are read.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from sampan.errors import InvalidArgument

ONE_OR_MANY: Final = "one string stands for a list of one"
MAX_DEPTH: Final = 64  # the deepest document of the API has 7 levels

T = TypeVar("T", bound=msgspec.Struct)
Normaliser = Callable[[object], object]


def decode(raw: bytes, kind: type[T]) -> T:
    """Read one JSON object from raw as a kind.

    Raises:
        InvalidArgument: raw is no JSON, has something behind the first value, or a field has a wrong type.
    """
    _check_depth(raw)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        if "trailing characters" in str(exc):
            raise InvalidArgument("unexpected content after JSON") from exc
        raise InvalidArgument(f"invalid JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid JSON: the body must be an object, not {_kind_name(value)}")
    try:
        return msgspec.convert(_normaliser(kind)(value), kind)
    except msgspec.ValidationError as exc:
        raise InvalidArgument(f"invalid JSON: {exc}") from exc


def _check_depth(raw: bytes) -> None:
    """Refuse raw if brackets nest too deep; brackets inside strings do not count."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for index, piece in enumerate(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')):
        if index % 2:
            continue
        for byte in piece:
            depth += (byte in b"[{") - (byte in b"]}")
            if depth > MAX_DEPTH:
                raise InvalidArgument(f"invalid JSON: nested deeper than {MAX_DEPTH} levels")


def _kind_name(value: object) -> str:
    return {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )


@cache
def _normaliser(kind: type[msgspec.Struct]) -> Normaliser:
    """Return a function that turns an untyped object into one that `kind` accepts."""
    hints = get_type_hints(kind, include_extras=True)
    wire_names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    fields = {wire_names[name]: _normaliser_of(hints[name]) for name in kind.__struct_fields__}
    folded = {name.lower(): name for name in fields}

    def normalise(value: object) -> object:
        if not isinstance(value, dict):
            return value
        result: dict[str, object] = {}
        exact: set[str] = set()
        for key, item in value.items():
            name = key if key in fields else folded.get(key.lower(), "")
            if not name or item is None or (name in exact and key != name):
                continue
            if key == name:
                exact.add(name)
            result[name] = fields[name](item)
        return result

    return normalise


def _normaliser_of(hint: object) -> Normaliser:
    """Return the function for one field's type; scalars pass as they are."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return _one_or_many if ONE_OR_MANY in marks else _normaliser_of(inner)
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part not in (type(None), msgspec.UnsetType))
    if hint is int:
        return _int64
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _normaliser(hint)
    if get_origin(hint) is list:
        return _list_of(_normaliser_of(get_args(hint)[0]))
    if get_origin(hint) is dict:
        inner = get_args(hint)[1]
        return _map_of(_normaliser_of(inner), _zero(inner))
    return _same


def _same(value: object) -> object:
    return value


def _int64(value: object) -> object:
    """Refuse what Go's int64 cannot hold; floats and the like are left to the conversion."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidArgument(f"invalid JSON: number {str(value)[:30]} is beyond 64 bits")
    return value


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _list_of(item: Normaliser) -> Normaliser:
    if item is _same:
        return _same
    return lambda value: [item(part) for part in value] if isinstance(value, list) else value


def _map_of(item: Normaliser, zero: Callable[[], object]) -> Normaliser:
    def normalise(value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: zero() if part is None else item(part) for key, part in value.items()}

    return normalise


def _zero(hint: object) -> Callable[[], object]:
    """Return the maker of Go's zero value of a map's values."""
    if hint is str:
        return str
    return list if get_origin(hint) is list else dict
