"""Go's `filepath.Match`, and the longer patterns of `.dockerignore` and `--exclude`.

Source: go doc path/filepath Match; github.com/moby/patternmatcher.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from sampan.errors import InvalidArgument

_WILD = re.compile(r"[*?\[\\]")


def is_pattern(text: str) -> bool:
    """Tell whether a source of COPY is a pattern."""
    return _WILD.search(text) is not None


@lru_cache(maxsize=1024)
def compile_match(pattern: str, *, deep: bool = False) -> re.Pattern[str]:
    """Return a pattern as a regular expression for whole paths; deep: `**` is any depth.

    Raises:
        InvalidArgument: a bracket is not closed, or an escape stands at the end.
    """
    result, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if deep and char == "*" and pattern.startswith("*", at):
            at += 1
            if pattern.startswith("/", at):
                at += 1
                result += "(?:.*/)?"
            else:
                result += ".*"
        elif char == "*":
            result += "[^/]*"
        elif char == "?":
            result += "[^/]"
        elif char == "[":
            piece, at = _bracket(pattern, at)
            result += piece
        elif char == "\\":
            if at >= len(pattern):
                raise InvalidArgument(f"syntax error in pattern {pattern!r}: a backslash ends it")
            result += re.escape(pattern[at])
            at += 1
        else:
            result += re.escape(char)
    return re.compile(result, re.DOTALL)


def _bracket(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern.startswith("^", at)
    at += negated
    ranges = ""
    while at < len(pattern) and (pattern[at] != "]" or not ranges):
        low, at = _class_character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_character(pattern, at + 1)
        if high >= low:
            ranges += f"{re.escape(low)}-{re.escape(high)}"
        else:
            ranges += ""  # an empty range matches nothing
    if at >= len(pattern) or not ranges:
        raise InvalidArgument(f"syntax error in pattern {pattern!r}: a bracket is not closed")
    return (f"[^{ranges}/]" if negated else f"(?!/)[{ranges}]"), at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] in ("", "-", "]"):
        raise InvalidArgument(f"syntax error in pattern {pattern!r}")
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise InvalidArgument(f"syntax error in pattern {pattern!r}: a backslash ends it")
    return pattern[at], at + 1


@dataclass(frozen=True, slots=True)
class _Rule:
    regex: re.Pattern[str]
    excludes: bool


class PatternList:
    """Patterns in order, the last match wins; one that matches a directory matches all below it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises InvalidArgument for a malformed pattern, or a lone `!`."""
        self._rules: list[_Rule] = []
        for text in patterns:
            excludes = not text.startswith("!")
            body = text if excludes else text[1:].strip()
            if not body:
                if excludes:
                    continue
                raise InvalidArgument('illegal exclusion pattern: "!"')
            body = posixpath.normpath(body).lstrip("/") if body.strip("/") else "."
            self._rules.append(_Rule(compile_match(body, deep=True), excludes))
        self.has_exceptions = any(not rule.excludes for rule in self._rules)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def matches(self, path: str) -> bool:
        """Tell whether a clean relative path is left out."""
        parents = [path[:at] for at, char in enumerate(path) if char == "/"]
        found = False
        for rule in self._rules:
            if rule.excludes == found:
                continue
            if rule.regex.fullmatch(path) or any(rule.regex.fullmatch(parent) for parent in parents):
                found = rule.excludes
        return found
