"""Find the handler of a request: a table of method, prefix and suffix, as docs/api.md says.

`{id}` stands for one path segment, `{name}` for one or more (image names contain slashes).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from sampan.daemon.call import Call

Handler = Callable[["Call"], Awaitable["StreamResponse"]]

_PATTERN: Final = re.compile(r"(?P<prefix>/[^{]*)(?:\{(?P<kind>id|name)\}(?P<suffix>.*))?")
_VERSION: Final = re.compile(r"/v([0-9.]{1,16})(/.*)")


@dataclass(frozen=True, slots=True)
class Match:
    """The handler that was found, and what stood for the variable part of the pattern."""

    handler: Handler
    name: str
    pattern: str  # as it was added: what scopes.py speaks of


@dataclass(frozen=True, slots=True)
class _Pattern:
    text: str
    prefix: str
    suffix: str
    many: bool
    handler: Handler

    def match(self, path: str) -> str | None:
        """Return the variable part of path, or None; it is never empty."""
        if not (path.startswith(self.prefix) and path.endswith(self.suffix)):
            return None
        name = path[len(self.prefix) : len(path) - len(self.suffix)]
        if not name or name.startswith("/") or name.endswith("/") or (not self.many and "/" in name):
            return None
        return name


class Router:
    """Routes by method. Fixed paths win; of several patterns the one with the longest suffix."""

    def __init__(self) -> None:
        self._fixed: dict[tuple[str, str], Handler] = {}
        self._patterns: dict[tuple[str, str], list[_Pattern]] = {}

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """Let handler answer method on paths of this pattern, such as `/containers/{id}/json`."""
        found = _PATTERN.fullmatch(pattern)
        assert found is not None, pattern
        prefix, kind, suffix = found.group("prefix", "kind", "suffix")
        if kind is None:
            self._fixed[method, prefix] = handler
            return
        group = self._patterns.setdefault((method, _first_segment(prefix)), [])
        group.append(_Pattern(pattern, prefix, suffix, kind == "name", handler))
        group.sort(key=lambda route: len(route.prefix) + len(route.suffix), reverse=True)

    def routes(self) -> list[tuple[str, str]]:
        """Return method and pattern of every route."""
        patterns = [(method, one.text) for (method, _), group in self._patterns.items() for one in group]
        return [*self._fixed, *patterns]

    def find(self, method: str, path: str) -> Match | None:
        """Return who answers method on path (without version, percent-decoded), or None."""
        handler = self._fixed.get((method, path))
        if handler is not None:
            return Match(handler, "", path)
        for pattern in self._patterns.get((method, _first_segment(path)), ()):
            name = pattern.match(path)
            if name is not None:
                return Match(pattern.handler, name, pattern.text)
        return None


def _first_segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def split_version(path: str) -> tuple[str, str]:
    """Split `/v1.44/info` into `1.44` and `/info`; without a version the first is empty."""
    found = _VERSION.fullmatch(path)
    return (found.group(1), found.group(2)) if found else ("", path)
