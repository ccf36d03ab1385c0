"""Quotes, escapes and variables in the words of an instruction.

Source: BuildKit, frontend/dockerfile/docs/reference.md, "Environment replacement"; POSIX sh, 2.6.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sampan.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?!$-]", re.ASCII)
_BLANK: Final = " \t\v\f\r\n"


class WordError(InvalidArgument):
    """A word is malformed, or a variable that must be set is not. The caller adds the place."""


class Words:
    """Expands words with the variables as they are. used: names that were asked for; unset: not there."""

    def __init__(self, variables: Mapping[str, str], escape: str = "\\") -> None:
        self._variables = variables
        self.escape = escape
        self.used: set[str] = set()
        self.unset: set[str] = set()

    def expand(self, text: str) -> str:
        """Return text with quotes and escapes taken away and variables put in, as one word.

        Raises:
            WordError: a quote or brace is not closed, or `${x:?…}` fails.
        """
        return "".join(piece for piece, _ in _Scan(self, text).pieces())

    def expand_document(self, text: str) -> str:
        """Return text with variables put in; quotes are text."""
        return "".join(piece for piece, _ in _Scan(self, text, quotes=False).pieces())

    def split(self, text: str) -> list[str]:
        """Return the words of the expanded text; what a variable holds is split, too, unless quoted."""
        words: list[str] = []
        current: str | None = None
        for piece, quoted in _Scan(self, text).pieces():
            if quoted:
                current = (current or "") + piece
                continue
            for char in piece:
                if char not in _BLANK:
                    current = (current or "") + char
                elif current is not None:
                    words.append(current)
                    current = None
        return words if current is None else [*words, current]

    def get(self, name: str) -> str | None:
        """Return a variable, None if it is not set."""
        self.used.add(name)
        value = self._variables.get(name)
        if value is None:
            self.unset.add(name)
        return value


class _Scan:
    """One pass over a text."""

    def __init__(self, words: Words, text: str, *, quotes: bool = True) -> None:
        self._words = words
        self._text = text
        self._quotes = quotes
        self._at = 0

    def pieces(self, stop: str = "") -> list[tuple[str, bool]]:
        """Return (text, whether it was quoted) up to stop, or the end."""
        found: list[tuple[str, bool]] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == stop:
                return found
            found.append(self._one(char))
        if stop:
            raise WordError(f"syntax error: missing {stop!r} in {self._text!r}")
        return found

    def _one(self, char: str) -> tuple[str, bool]:
        if char == "$":
            return self._dollar(), False
        self._at += 1
        if char == self._words.escape:
            return self._escaped()
        if self._quotes and char == "'":
            return self._single(), True
        if self._quotes and char == '"':
            return self._double(), True
        return char, False

    def _escaped(self) -> tuple[str, bool]:
        if self._at >= len(self._text):
            return ("" if self._quotes else self._words.escape), True
        char = self._text[self._at]
        self._at += 1
        if not self._quotes and char not in ("$", self._words.escape):
            return self._words.escape + char, True
        return char, True

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise WordError("unexpected end of statement while looking for matching single-quote")
        piece, self._at = self._text[self._at : end], end + 1
        return piece

    def _double(self) -> str:
        found = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return found
            if char == "$":
                found += self._dollar()
                continue
            self._at += 1
            if char == self._words.escape and self._at < len(self._text):
                after = self._text[self._at]
                self._at += 1
                found += after if after in ('"', "$", self._words.escape) else char + after
            else:
                found += char
        raise WordError("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        self._at += 1
        if not self._text.startswith("{", self._at):
            name = self._name()
            return (self._words.get(name) or "") if name else "$"
        self._at += 1
        return self._braces()

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _braces(self) -> str:
        start = self._at
        name = self._name()
        if not name:
            raise WordError("syntax error: bad substitution")
        modifier = self._text[self._at : self._at + 1]
        self._at += 1
        if modifier == "}":
            return self._words.get(name) or ""
        if modifier == ":":
            modifier += self._text[self._at : self._at + 1]
            self._at += 1
        elif modifier in ("#", "%", "/") and self._text.startswith(modifier, self._at):
            modifier *= 2
            self._at += 1
        return self._modified(name, modifier, start)

    def _modified(self, name: str, modifier: str, start: int) -> str:
        value = self._words.get(name)
        if modifier in ("#", "##", "%", "%%"):
            return strip_pattern(value or "", self._raw_until("}"), modifier)
        if modifier in ("/", "//"):
            return self._replaced(value or "", everywhere=modifier == "//")
        if modifier not in (":-", "-", ":+", "+", ":?", "?"):
            shown = self._text[start - 2 :]
            raise WordError(f"unsupported modifier ({modifier or 'none'}) in substitution {shown!r}")
        other = "".join(piece for piece, _ in self.pieces("}"))
        self._at += 1
        is_set = value is not None if len(modifier) == 1 else bool(value)
        if modifier[-1] == "+":
            return other if is_set else ""
        if modifier[-1] == "?" and not is_set:
            what = "empty or unset" if len(modifier) == 2 else "unset"
            raise WordError(f"{name}: {other or f'is not allowed to be {what}'}")
        return (value or "") if is_set else other

    def _raw_until(self, stop: str) -> str:
        """Return a pattern: variables are put in, escapes stay for it."""
        found = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == stop:
                self._at += 1
                return found
            if char == "$":
                found += self._dollar()
                continue
            self._at += 1
            found += char
            if char == self._words.escape and self._at < len(self._text):
                found = found[:-1] + "\\" + self._text[self._at]
                self._at += 1
        raise WordError(f"syntax error: missing {stop!r} in {self._text!r}")

    def _replaced(self, value: str, *, everywhere: bool) -> str:
        pattern = self._raw_until("/")
        other = "".join(piece for piece, _ in self.pieces("}"))
        self._at += 1
        if not pattern:
            return value
        return _pattern(pattern, greedy=True).sub(lambda _: other, value, count=0 if everywhere else 1)


def strip_pattern(value: str, pattern: str, modifier: str) -> str:
    """Take the shortest (`#`, `%`) or longest (`##`, `%%`) match off the beginning or the end."""
    greedy = len(modifier) == 2
    if modifier[0] == "#":
        match = _pattern(pattern, greedy=greedy).match(value)
        return value[match.end() :] if match else value
    places = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    whole = _pattern(pattern, greedy=True)
    for at in places:
        if whole.fullmatch(value, at):
            return value[:at]
    return value


def _pattern(text: str, *, greedy: bool) -> re.Pattern[str]:
    """Return a shell pattern of `*`, `?` and escapes as a regular expression."""
    result, at = "", 0
    while at < len(text):
        char = text[at]
        if char == "*":
            result += ".*" if greedy else ".*?"
        elif char == "?":
            result += "."
        else:
            if char == "\\" and at + 1 < len(text):
                at += 1
                char = text[at]
            result += re.escape(char)
        at += 1
    return re.compile(result, re.DOTALL)


def split_raw(text: str, escape: str = "\\") -> list[str]:
    """Return the words of a text at blanks outside of quotes, with quotes and escapes as they stand."""
    words: list[str] = []
    current, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            current += text[at : at + 2]
            at += 2
            continue
        if not quote and char in _BLANK:
            if current:
                words.append(current)
            current = ""
        else:
            if quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            current += char
        at += 1
    return [*words, current] if current else words
