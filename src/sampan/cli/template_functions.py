"""The functions templates may call, and Go's way to print, compare and judge values. Lean (decision 0002).

Go's own (`index`, `len`, `eq`, `printf`, …) and those docker adds (`json`, `join`, `lower`, `truncate`, …).
"""

from __future__ import annotations

from sampan.cli.pretty import compact_json
from sampan.cli.template_parse import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    # A JSON value, or a function in a mapping; at run time lists and dictionaries.
    Value: TypeAlias = (
        bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"] | Callable[..., "Value"] | None
    )


def is_true(value: Value) -> bool:
    """Tell what `if` makes of a value: false, 0, nothing and empty things are false."""
    return bool(value)


def go_text(value: Value) -> str:
    """Return a value as Go prints it: `true`, `map[a:1 b:2]`, `[x y]`, `<nil>`."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _go_float(value)
    if isinstance(value, dict):
        shown = (f"{key}:{go_text(value[key])}" for key in sorted(value) if not callable(value[key]))
        return "map[" + " ".join(shown) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_text(item) for item in value) + "]"
    return str(value)


def _go_float(value: float) -> str:
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    mantissa, found, power = text.partition("e")
    return f"{mantissa}e{power[0]}{power[1:].zfill(2)}" if found else text


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise TemplateError(f"{go_text(key)} is not a key of a map")
            value = value.get(key)
        elif isinstance(value, list | str) and isinstance(key, int) and not isinstance(key, bool):
            if not 0 <= key < len(value):
                raise TemplateError(f"index {key} out of range: there are {len(value)}")
            value = value[key] if isinstance(value, list) else value.encode()[key]
        elif value is None:
            raise TemplateError("index of nothing")
        else:
            raise TemplateError(f"cannot index {go_text(value)[:40]!r} by {go_text(key)!r}")
    return value


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list | dict):
        return len(value)
    raise TemplateError(f"len of {go_text(value)}")


def _slice(value: Value, *bounds: Value) -> Value:
    if not isinstance(value, list | str) or len(bounds) > 2:
        raise TemplateError("needs a list or text, and at most two bounds")
    numbers = [bound for bound in bounds if isinstance(bound, int) and 0 <= bound <= len(value)]
    if len(numbers) != len(bounds):
        raise TemplateError("a bound is out of range")
    start = numbers[0] if numbers else 0
    return value[start : numbers[1] if len(numbers) > 1 else len(value)]


def _equal(first: Value, *others: Value) -> bool:
    if not others:
        raise TemplateError("needs two values")
    return any(_same(first, other) for other in others)


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, bool) != isinstance(right, bool) or isinstance(left, str) != isinstance(right, str):
        if left is None or right is None:
            return False
        raise TemplateError(f"cannot compare {go_text(left)[:40]!r} with {go_text(right)[:40]!r}")
    return left == right


def _less(left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    numbers = [
        value for value in (left, right) if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if len(numbers) != 2:
        raise TemplateError(f"cannot order {go_text(left)[:40]!r} and {go_text(right)[:40]!r}")
    return numbers[0] < numbers[1]


def _print(*values: Value) -> str:
    """Join as Go's Sprint: a space only between two values of which neither is text."""
    out, before = "", ""
    for value in values:
        is_text = isinstance(value, str)
        out += " " if out and not is_text and before == "other" else ""
        out, before = out + go_text(value), "text" if is_text else "other"
    return out


def _println(*values: Value) -> str:
    return " ".join(go_text(value) for value in values) + "\n"


def _printf(form: Value, *values: Value) -> str:
    if not isinstance(form, str):
        raise TemplateError("the format is not text")
    out, at, rest = "", 0, list(values)
    while (found := form.find("%", at)) >= 0:
        end = found + 1
        while end < len(form) and form[end] in "+-# 0123456789.":
            end += 1
        verb = form[end : end + 1]
        out, at = out + form[at:found], end + 1
        if verb == "%":
            out += "%"
        elif not rest:
            out += f"%!{verb}(MISSING)"
        else:
            out += _verb(form[found + 1 : end], verb, rest.pop(0))
    extra = ", ".join(f"{_kind(value)}={go_text(value)}" for value in rest)
    return out + form[at:] + (f"%!(EXTRA {extra})" if extra else "")


def _kind(value: Value) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string", dict: "map[string]interface {}"}
    return names.get(type(value), "[]interface {}" if isinstance(value, list) else "<nil>")


def _verb(flags: str, verb: str, value: Value) -> str:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    try:
        if verb in ("v", "s") or (verb == "t" and isinstance(value, bool)):
            return f"%{flags}s" % go_text(value)
        if verb == "q":
            return f"%{flags}s" % compact_json(go_text(value))
        if verb == "d" and isinstance(number, int):
            return f"%{flags}d" % number
        if verb in "xXo" and isinstance(number, int):
            return f"%{flags}{verb}" % number
        if verb == "x" and isinstance(value, str):
            return value.encode().hex()
        if verb in "feEgG" and number is not None:
            return f"%{flags}{verb}" % number
    except ValueError as exc:
        raise TemplateError(f"bad format %{flags}{verb}") from exc
    return f"%!{verb}({_kind(value)}={go_text(value)})"


def _join(values: Value, separator: Value) -> str:
    if values is None:
        return ""
    if not isinstance(values, list) or not isinstance(separator, str):
        raise TemplateError("needs a list and a separator")
    return separator.join(go_text(value) for value in values)


def _text_of(value: Value) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{go_text(value)[:40]!r} is not text")
    return value


def _split(text: Value, separator: Value) -> Value:
    return list(_text_of(text).split(_text_of(separator)) if separator else _text_of(text))


def _title(text: Value) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in _text_of(text).split(" "))


def _pad(text: Value, before: Value, after: Value) -> str:
    if not isinstance(before, int) or not isinstance(after, int):
        raise TemplateError("needs text and two numbers")
    return " " * before + _text_of(text) + " " * after if text else ""


def _truncate(text: Value, length: Value) -> str:
    if not isinstance(length, int):
        raise TemplateError("needs text and a length")
    return _text_of(text)[:length]


def _html(value: Value) -> str:
    text = go_text(value)
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(plain, safe)
    return text


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "eq": _equal,
    "ge": lambda left, right: not _less(left, right),
    "gt": lambda left, right: _less(right, left),
    "html": _html,
    "index": _index,
    "join": _join,
    "json": compact_json,
    "le": lambda left, right: not _less(right, left),
    "len": _length,
    "lower": lambda text: _text_of(text).lower(),
    "lt": _less,
    "ne": lambda left, right: not _same(left, right),
    "not": lambda value: not is_true(value),
    "pad": _pad,
    "print": _print,
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "split": _split,
    "title": _title,
    "truncate": _truncate,
    "upper": lambda text: _text_of(text).upper(),
}
