"""JSON for programs that start once a container: the C scanner and encoder of `json`, without `json`.

`import json` costs 7 ms, mostly for `re`; the accelerator module behind it costs 0.2 ms. Documents are
plain Python values: dict, list, str, int, float, bool, None.
"""

from __future__ import annotations

import _json

from sampan.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_SPACE = " \t\r\n"
_MAX_DIGITS = 400  # int() of a long digit string costs quadratic time


def _parse_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("number is too long")
    return int(text)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


class _Context:
    """What `_json.make_scanner` reads its settings from (Modules/_json.c, `scanner_new`)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = staticmethod(_parse_int)
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 -- read by C code as an attribute, never changed here


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]  # typeshed asks for itself


def loads(text: str | bytes) -> JsonValue:
    """Parse one JSON document (RFC 8259); NaN and Infinity are refused.

    Raises:
        InvalidArgument: text is not JSON, or something follows the first value.
    """
    try:
        source = text.decode() if isinstance(text, bytes) else text
        start = len(source) - len(source.lstrip(_SPACE))
        value, end = _scan(source, start)
    except (StopIteration, SystemError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"invalid JSON: {_explain(text, exc)}") from exc
    if source[end:].strip(_SPACE):
        raise InvalidArgument("invalid JSON: unexpected content after the first value")
    return value  # type: ignore[no-any-return]  # the C scanner is untyped


def _explain(text: str | bytes, error: Exception) -> str:
    """Say where the document is wrong; the C scanner cannot unless `json.decoder` is imported (3.11)."""
    if isinstance(error, ValueError | RecursionError):
        return str(error)
    import json.decoder

    try:
        json.loads(text)
    except ValueError as exc:
        return str(exc)
    return "no value"


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_encode = _json.make_encoder(
    None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False
)


def dumps(value: object) -> str:
    """Return value as compact ASCII JSON; surrogate escapes of undecodable bytes survive the round trip.

    Raises:
        TypeError: value holds something that JSON cannot say.
    """
    return "".join(_encode(value, 0))
