"""Small stand-ins for `dataclasses` and `contextlib`, for programs that start once a container.

Importing `dataclasses`, `typing`, `enum`, `re`, `json`, `socket` costs 3 to 15 ms each, and a whole
container start has a budget of about 20 ms (docs/decisions/0002-lean-modules.md). Modules that the
launcher, the shim, `sampan-runtime` and the fast path of the CLI import use this one instead.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False  # type checkers treat a variable of this name as true; typing stays unimported
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeVar, dataclass_transform

    _T = TypeVar("_T")

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    def record(cls: type[_T]) -> type[_T]:
        """Make cls a frozen value with keyword-only fields, as `@dataclass(frozen=True, kw_only=True)`."""
        return cls

else:

    def record(cls):
        """Make cls a frozen value with keyword-only fields, as `@dataclass(frozen=True, kw_only=True)`."""
        fields = []
        for base in reversed(cls.__mro__):
            fields += [name for name in base.__dict__.get("__annotations__", {}) if name not in fields]
        cls._fields = tuple(fields)
        cls._names = frozenset(fields)
        cls._defaults = {name: getattr(cls, name) for name in fields if hasattr(cls, name)}
        cls.__match_args__ = ()
        cls.__init__ = _init
        cls.__eq__ = _eq
        cls.__hash__ = _hash
        cls.__repr__ = _repr
        cls.__setattr__ = _refuse
        cls.__delattr__ = _refuse
        return cls

    def _init(self, **values):
        own = self.__dict__
        own.update(self._defaults)
        own.update(values)
        if own.keys() != self._names:
            missing = [name for name in self._fields if name not in own]
            unknown = [name for name in values if name not in self._fields]
            raise TypeError(f"{type(self).__name__}: missing {missing}, unknown {unknown}")

    def _eq(self, other):
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash((type(self), *(self.__dict__[name] for name in self._fields)))

    def _repr(self):
        inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({inside})"

    def _refuse(self, name, *_value):
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")


def getenv(name: str) -> str | None:
    """Return an environment variable, as `os.environ.get` does; `os` is not loaded for it."""
    loaded = sys.modules.get("os")
    if loaded is not None:  # it alone knows what this process has changed
        found: str | None = loaded.environ.get(name)
        return found
    value = posix.environ.get(name.encode("utf-8", "surrogateescape"))
    return None if value is None else value.decode("utf-8", "surrogateescape")


def replace(value: _T, **changes: object) -> _T:
    """Return a copy of a record with some fields changed, as `dataclasses.replace` does."""
    return type(value)(**{**value.__dict__, **changes})


class Undo:
    """Undo steps of a half-made object, run in reverse unless `commit` was reached.

    Like `contextlib.ExitStack` with `pop_all`: a step is `(function, *arguments)`. When a step fails,
    the first error stays the cause and the failure is added to it as a note.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def add(self, function: Callable[..., object], *arguments: object) -> None:
        """Run function(*arguments) if the block is left before `commit`."""
        self._steps.append((function, arguments))

    def commit(self) -> None:
        """Keep everything: the object is whole and owns its parts from here on."""
        self._steps.clear()

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures: list[Exception] = []
        while self._steps:
            function, arguments = self._steps.pop()
            try:
                function(*arguments)
            except Exception as exc:  # every further step must still run
                failures.append(exc)
        for failure in failures:
            if error is None:
                raise failure
            error.add_note(f"while undoing: {failure}")
