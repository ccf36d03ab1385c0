"""A small command-line parser with the habits of runc's (Go's flag package). Lean.

Options end at the first word that is none; one or two dashes mean the same; a value follows or is joined by
`=`; a flag takes `=false`. `argparse` would cost 8 ms of a start that has 29.
"""

from __future__ import annotations

from sampan.errors import InvalidArgument
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    Kind = Literal["flag", "text", "number", "list", "seconds"]

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_FALSE = ("false", "0", "f", "F", "False", "FALSE")
_TRUE = ("true", "1", "t", "T", "True", "TRUE")


@record
class Option:
    """One option: its names without dashes, the long one first."""

    names: tuple[str, ...]
    kind: Kind
    help: str


class Values:
    """Parsed options by long name; what was not given has the empty value of its kind."""

    def __init__(self, options: Sequence[Option]) -> None:
        empty: dict[str, object] = {"flag": False, "text": "", "number": None, "list": (), "seconds": None}
        self._values = {option.names[0]: empty[option.kind] for option in options}

    def put(self, name: str, value: object) -> None:
        """Set an option."""
        self._values[name] = value

    def flag(self, name: str) -> bool:
        """Return whether a flag was given."""
        return self._values[name] is True

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        return str(self._values[name] or default)

    def number(self, name: str) -> int | None:
        """Return a whole number, None if it was not given."""
        value = self._values[name]
        return value if isinstance(value, int) else None

    def seconds(self, name: str) -> float | None:
        """Return a duration in seconds, None if it was not given."""
        value = self._values[name]
        return value if isinstance(value, float) else None

    def list(self, name: str) -> tuple[str, ...]:
        """Return every value of an option that may be repeated."""
        value = self._values[name]
        return value if isinstance(value, tuple) else ()


def parse(options: Sequence[Option], words: Sequence[str]) -> tuple[Values, list[str]]:
    """Return the options at the start of words, and the words behind them.

    Raises:
        InvalidArgument: an unknown option, a missing or a wrong value.
    """
    by_name = {name: option for option in options for name in option.names}
    values = Values(options)
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        option = by_name.get(name)
        if option is None:
            raise InvalidArgument(
                f"unknown option {word.partition('=')[0]!r}", hint=_suggestion(name, by_name)
            )
        if option.kind != "flag" and not equals:
            if not rest:
                raise InvalidArgument(f"option {word!r} needs a value")
            value = rest.pop(0)
        values.put(option.names[0], _convert(option, value, values, given=bool(equals)))
    return values, rest


def _convert(option: Option, text: str, values: Values, *, given: bool) -> object:
    name = option.names[0]
    if option.kind == "flag":
        if given and text not in _TRUE + _FALSE:
            raise InvalidArgument(f"option --{name}: {text!r} is neither true nor false")
        return not given or text in _TRUE
    if option.kind == "list":
        return (*values.list(name), text)
    if option.kind == "number":
        return parse_number(text, f"option --{name}")
    if option.kind == "seconds":
        return _parse_seconds(text, name)
    return text


def parse_number(text: str, where: str) -> int:
    """Read a decimal whole number, with a minus sign at most.

    Raises:
        InvalidArgument: it is none.
    """
    digits = text.removeprefix("-")
    if not digits or not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise InvalidArgument(f"{where}: {text!r} is not a whole number")
    return int(text)


def _parse_seconds(text: str, name: str) -> float:
    """Read a duration as Go writes simple ones: 500ms, 5s, 1m, 2h."""
    number = text.rstrip("hms")
    unit = text[len(number) :]
    if unit not in _UNITS or not number.isascii() or not number.replace(".", "", 1).isdigit():
        raise InvalidArgument(f"option --{name}: {text!r} is not a duration such as 5s")
    return float(number) * _UNITS[unit]


def _suggestion(name: str, known: dict[str, Option]) -> str:
    import difflib  # only on the way to an error

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean --{near[0]}?" if near else "see --help"
