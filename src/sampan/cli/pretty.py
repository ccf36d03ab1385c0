"""JSON for people: compact or indented, unescaped beyond ASCII. Lean: `json` costs 7 ms (decision 0002)."""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_quote: Callable[[str], str] = _json.encode_basestring


def _default(value: object) -> object:
    """Leave functions out: rows of tables carry some for templates."""
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_encode = _json.make_encoder(None, _default, _json.encode_basestring, None, ":", ",", False, False, False)


def compact_json(value: object) -> str:
    """Return value as JSON on one line. Functions in a mapping are left out."""
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if not callable(item)}
    return "".join(_encode(value, 0))


def pretty_json(value: object, *, indent: str = "    ") -> str:
    """Return value as indented JSON, as `docker inspect` prints it; the order of keys is kept."""
    out: list[str] = []
    _write(value, "\n", indent, out)
    return "".join(out)


def _write(value: object, line: str, indent: str, out: list[str]) -> None:
    if isinstance(value, dict) and value:
        inner = line + indent
        for at, (key, item) in enumerate(value.items()):
            out.append(("{" if not at else ",") + inner + _quote(key) + ": ")
            _write(item, inner, indent, out)
        out.append(line + "}")
    elif isinstance(value, list) and value:
        inner = line + indent
        for at, item in enumerate(value):
            out.append(("[" if not at else ",") + inner)
            _write(item, inner, indent, out)
        out.append(line + "]")
    else:
        out += _encode(value, 0)
