"""Checked reading of JSON documents into lean records; every error names the field it is about.

A document is described by tables, `{JSON name: (attribute, reader)}`. A reader takes a raw value and returns
the checked one or raises `WrongField`; the path is put together while the error travels up, so that a good
document pays nothing for it. Unknown names are skipped, as the specification demands ("Extensibility").
"""

from __future__ import annotations

from sampan.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    _T = TypeVar("_T")
    Reader = Callable[[object], _T]
    Fields = Mapping[str, tuple[str, Callable[[object], object]]]

INT32 = (-(1 << 31), (1 << 31) - 1)
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT16 = (0, (1 << 16) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT64 = (0, (1 << 64) - 1)


class WrongField(Exception):
    """A value of the wrong type or outside its range; `path` grows outwards."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def below(self, name: str) -> WrongField:
        """Return the same problem as seen from one level further out."""
        dot = "." if self.path and self.path[0] != "[" else ""
        return WrongField(self.problem, f"{name}{dot}{self.path}")


def read_document(reader: Reader[_T], raw: object) -> _T:
    """Read a whole document.

    Raises:
        InvalidArgument: `<path of the field>: <problem>`.
    """
    try:
        return reader(raw)
    except WrongField as exc:
        raise InvalidArgument(f"{exc.path}: {exc.problem}" if exc.path else exc.problem) from exc


def text(raw: object) -> str:
    """Read a string; one with a NUL can never reach the kernel as it stands."""
    if type(raw) is not str:
        raise WrongField(f"must be a string, not {_kind(raw)}")
    if "\0" in raw:
        raise WrongField("must not contain a NUL character")
    return raw


def path(raw: object) -> str:
    """Read a path; empty is refused."""
    value = text(raw)
    if not value:
        raise WrongField("must not be empty")
    return value


def absolute_path(raw: object) -> str:
    """Read a path that starts with a slash."""
    value = text(raw)
    if not value.startswith("/"):
        raise WrongField(f"must be an absolute path, not {value!r}")
    return value


def boolean(raw: object) -> bool:
    """Read true or false."""
    if type(raw) is not bool:
        raise WrongField(f"must be true or false, not {_kind(raw)}")
    return raw


def integer(bounds: tuple[int, int]) -> Reader[int]:
    """Make a reader of whole numbers within bounds, both included."""
    low, high = bounds

    def read(raw: object) -> int:
        if type(raw) is not int:
            raise WrongField(f"must be a whole number, not {_kind(raw)}")
        if not low <= raw <= high:
            raise WrongField(f"{raw} is outside {low} to {high}")
        return raw

    return read


def one_of(allowed: frozenset[str]) -> Reader[str]:
    """Make a reader of one of a closed set of words."""

    def read(raw: object) -> str:
        value = text(raw)
        if value not in allowed:
            raise WrongField(f"{value!r} is none of {', '.join(sorted(allowed))}")
        return value

    return read


def many(item: Reader[_T]) -> Reader[tuple[_T, ...]]:
    """Make a reader of arrays; null is an empty one, as Go writes a nil slice."""

    def read(raw: object) -> tuple[_T, ...]:
        if raw is None:
            return ()
        if type(raw) is not list:
            raise WrongField(f"must be an array, not {_kind(raw)}")
        try:
            return tuple(map(item, raw))
        except WrongField:
            for index, value in enumerate(raw):  # once more, slowly, to say which
                try:
                    item(value)
                except WrongField as exc:
                    raise exc.below(f"[{index}]") from exc
            raise

    return read


def mapping(item: Reader[_T]) -> Reader[dict[str, _T]]:
    """Make a reader of objects with free keys."""

    def read(raw: object) -> dict[str, _T]:
        if raw is None:
            return {}
        if type(raw) is not dict:
            raise WrongField(f"must be an object, not {_kind(raw)}")
        values = {}
        for key, value in raw.items():
            try:
                values[text(key)] = item(value)
            except WrongField as exc:
                raise exc.below(key) from exc
        return values

    return read


def structure(make: Callable[..., _T], fields: Fields, *, required: tuple[str, ...] = ()) -> Reader[_T]:
    """Make a reader of objects with known keys; null counts as absent."""

    def read(raw: object) -> _T:
        if type(raw) is not dict:
            raise WrongField(f"must be an object, not {_kind(raw)}")
        values = {}
        for name, value in raw.items():
            if value is None or name not in fields:
                continue
            attribute, reader = fields[name]
            try:
                values[attribute] = reader(value)
            except WrongField as exc:
                raise exc.below(name) from exc
        for name in required:
            if raw.get(name) is None:
                raise WrongField("is required", name)
        return make(**values)

    return read


def _kind(raw: object) -> str:
    if raw is None:
        return "null"
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a fraction", list: "an array"}
    return names.get(type(raw), "an object")
