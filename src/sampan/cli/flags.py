"""Flags as docker's clients take them: the rules of Go's pflag over rows of a table. Lean (decision 0002).

A row is `(long name, short letter or "", kind, help text)`. Kinds are what the help shows for the value:
`bool` takes none, `int` is checked here, those in `REPEATED` may be given again; the rest is one text,
checked by the command. `-it`, `-eA=b`, `-e=A=b`, `--env A=b`, `--rm=false`, `--` work as in pflag.
"""

from __future__ import annotations

from sampan.cli.outcome import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = tuple[str, str, str, str]
    Group = tuple[str, tuple[Row, ...]]

REPEATED = frozenset(("list", "filter", "mount", "network", "map", "ulimit"))
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class Flags:
    """The flags of one command line, by long name."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {}
        self._truths: dict[str, bool] = {}
        self._numbers: dict[str, int] = {}

    def given(self, name: str) -> bool:
        """Tell whether the flag was on the command line, whatever its value."""
        return name in self._texts or name in self._truths or name in self._lists or name in self._numbers

    def truth(self, name: str, default: bool = False) -> bool:
        """Return a bool flag."""
        return self._truths.get(name, default)

    def text(self, name: str, default: str = "") -> str:
        """Return a flag with one value; the last one given counts."""
        return self._texts.get(name, default)

    def number(self, name: str, default: int = 0) -> int:
        """Return an int flag."""
        return self._numbers.get(name, default)

    def items(self, name: str) -> list[str]:
        """Return the values of a repeated flag in the order given."""
        return self._lists.get(name, [])

    def put(self, row: Row, value: str, shown: str) -> None:
        """Store one value; `shown` is the flag as the user wrote it.

        Raises:
            UsageError: the value has the wrong form for the row's kind.
        """
        name, _, kind, _ = row
        if kind == "bool":
            if value not in _TRUE and value not in _FALSE:
                raise UsageError(f"{shown}: {value!r} is neither true nor false")
            self._truths[name] = value in _TRUE
        elif kind in REPEATED:
            self._lists.setdefault(name, []).append(value)
        elif kind == "int":
            self._numbers[name] = _parse_int(value, shown)
        else:
            self._texts[name] = value


def _parse_int(value: str, shown: str) -> int:
    try:
        if "_" in value or value != value.strip():
            raise ValueError
        return int(value, 0 if value.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)
    except ValueError as exc:
        raise UsageError(f"{shown}: {value!r} is not a whole number") from exc


def parse_flags(
    groups: Iterable[Group], arguments: Sequence[str], *, interspersed: bool
) -> tuple[Flags, list[str]]:
    """Split a command line into its flags and the other arguments.

    `interspersed=False` stops at the first argument that is no flag: what follows belongs to the container.
    `--help` is always known; it is returned as the flag `help`.

    Raises:
        UsageError: a flag is unknown, or its value is missing or has the wrong form.
    """
    rows = {row[0]: row for group in groups for row in group[1]}
    rows.setdefault("help", ("help", "", "bool", ""))
    flags = Flags()
    others: list[str] = []
    rest = list(arguments)
    rest.reverse()  # a stack: pop() takes the next argument
    while rest:
        word = rest.pop()
        if word == "--":
            others += reversed(rest)
            break
        if word.startswith("--"):
            _take_long(flags, rows, word, rest)
        elif len(word) > 1 and word[0] == "-":
            _take_short(flags, rows, word, rest)
        else:
            others.append(word)
            if not interspersed:
                others += reversed(rest)
                break
    return flags, others


def _take_long(flags: Flags, rows: dict[str, Row], word: str, rest: list[str]) -> None:
    name, equals, value = word[2:].partition("=")
    row = rows.get(name)
    if row is None:
        raise UsageError(f"unknown flag: --{name}", hint=_near(name, rows))
    shown = f"--{name}"
    if not equals:
        value = "true" if row[2] == "bool" else _next_value(shown, rest)
    flags.put(row, value, shown)


def _take_short(flags: Flags, rows: dict[str, Row], word: str, rest: list[str]) -> None:
    by_letter = {row[1]: row for row in rows.values() if row[1]}
    at = 1
    while at < len(word):
        row = by_letter.get(word[at])
        if row is None and word[at] == "h":
            row = rows["help"]
        if row is None:
            raise UsageError(f"unknown shorthand flag: {word[at]!r} in {word}")
        shown = f"-{word[at]}, --{row[0]}"
        at += 1
        if row[2] == "bool" and word[at : at + 1] != "=":
            flags.put(row, "true", shown)
            continue
        value = word[at:] if at < len(word) else _next_value(shown, rest)
        flags.put(row, value[1:] if at < len(word) and value.startswith("=") else value, shown)
        return


def _next_value(shown: str, rest: list[str]) -> str:
    if not rest:
        raise UsageError(f"flag needs an argument: {shown}")
    return rest.pop()


def _near(name: str, rows: dict[str, Row]) -> str:
    from sampan.cli.suggest import nearest

    found = nearest(name, rows)
    return f"did you mean --{found}?" if found else ""
