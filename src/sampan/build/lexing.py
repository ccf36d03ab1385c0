"""Text of a Dockerfile → syntax tree: directives, continuation lines, comments, heredocs, flags.

Source: BuildKit, frontend/dockerfile/docs/reference.md, "Parser directives", "Format", "Here-Documents".
"""

from __future__ import annotations

import json
import re
from typing import Final

from sampan.build.syntax import DockerfileError, Heredoc, Node, Place, Tree, Warned, did_you_mean
from sampan.build.words import WordError, Words, split_raw
from sampan.errors import InvalidArgument

_MAX_LINE: Final = 65535
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES: Final = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)")
_WITH_HEREDOCS: Final = ("RUN", "COPY", "ADD")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
KEYWORDS: Final = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
    "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip


def parse_text(raw: bytes, *, file: str = "Dockerfile") -> Tree:
    """Read a Dockerfile.

    Raises:
        DockerfileError: a line is wrong. InvalidArgument: there is no instruction, or it is no UTF-8.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidArgument(f"{file} is no UTF-8 text: {exc.reason} at byte {exc.start}") from exc
    tree = _Lexer(text, file).run()
    if not tree.nodes:
        what = "file with no instructions" if text.strip() else f"the Dockerfile ({file}) cannot be empty"
        raise InvalidArgument(what)
    return tree


class _Lexer:
    def __init__(self, text: str, file: str) -> None:
        self._raw = text.split("\n")
        if self._raw and not self._raw[-1]:
            self._raw.pop()
        self._lines = tuple(line.rstrip("\r") for line in self._raw)
        self._file = file
        self._at = 0  # the next line's index
        self._directives: dict[str, str] = {}
        self._warnings: list[Warned] = []

    def run(self) -> Tree:
        self._read_directives()
        escape = re.escape(self._directives.get("escape", "\\"))
        self._continuation = re.compile(rf"(?:(?<=[^{escape}])|^){escape}[ \t]*$")
        nodes = []
        while self._at < len(self._lines):
            first = self._at + 1
            line = self._read_logical()
            if line:
                nodes.append(self._make_node(line, first))
        return Tree(tuple(nodes), self._directives, tuple(self._warnings))

    def _place(self, first: int, last: int = 0) -> Place:
        return Place(self._file, first, max(first, last), self._lines)

    def _read_directives(self) -> None:
        for number, line in enumerate(self._lines, 1):
            match = _DIRECTIVE.fullmatch(line)
            if match is None or match[1].lower() not in _DIRECTIVES:
                return
            name, value = match[1].lower(), match[2]
            if name in self._directives:
                raise DockerfileError(f"only one {name} parser directive can be used", self._place(number))
            if name == "escape" and value not in ("\\", "`"):
                raise DockerfileError(
                    f"invalid escape token {value!r} does not match ` or \\", self._place(number)
                )
            self._directives[name] = value

    def _next(self) -> str:
        line = self._lines[self._at]
        self._at += 1
        if len(line.encode()) > _MAX_LINE:
            raise DockerfileError(
                f"dockerfile line greater than maximum allowed size of {_MAX_LINE}", self._place(self._at)
            )
        return line

    def _read_logical(self) -> str:
        """Return a line with those that continue it; "" for a comment or nothing."""
        first = self._at + 1
        line = self._next()
        if _is_comment(line):
            return ""
        line, ended = self._strip_continuation(line.lstrip())
        parts = [line]
        has_gap = False
        while not ended and self._at < len(self._lines):
            more = self._next()
            if _is_comment(more):
                continue
            if not more.strip():
                has_gap = True
                continue
            more, ended = self._strip_continuation(more)
            parts.append(more)
        if has_gap:
            self._warnings.append(
                Warned("Empty continuation line found in: " + "".join(parts), self._place(first, self._at))
            )
        return "".join(parts).strip()

    def _strip_continuation(self, line: str) -> tuple[str, bool]:
        match = self._continuation.search(line)
        return (line[: match.start()], False) if match else (line, True)

    def _make_node(self, line: str, first: int) -> Node:
        keyword, text = _split_keyword(line)
        place = self._place(first, self._at)
        if keyword.upper() not in KEYWORDS:
            raise DockerfileError(f"unknown instruction: {keyword}{did_you_mean(keyword, KEYWORDS)}", place)
        try:
            flags, text = extract_flags(text, self._directives.get("escape", "\\"))
            heredocs = self._read_heredocs(keyword.upper(), text, first)
        except WordError as exc:
            raise DockerfileError(str(exc), place) from exc
        return Node(keyword.upper(), text, line, self._place(first, self._at), flags, heredocs)

    def _read_heredocs(self, keyword: str, text: str, first: int) -> tuple[Heredoc, ...]:
        while keyword == "ONBUILD":
            keyword, text = _split_keyword(text)
            keyword = keyword.upper()
            text = extract_flags(text, self._directives.get("escape", "\\"))[1]
        if keyword not in _WITH_HEREDOCS or "<<" not in text or parse_json(text) is not None:
            return ()
        found = []
        for start in find_heredocs(text, self._directives.get("escape", "\\")):
            found.append(self._read_heredoc(start, first))
        return tuple(found)

    def _read_heredoc(self, start: Heredoc, first: int) -> Heredoc:
        content: list[str] = []
        while self._at < len(self._lines):
            raw, line = self._raw[self._at], self._next()
            end = line.lstrip("\t") if start.chomp else line
            if end == start.name:
                text = "".join(content)
                text = _LEADING_TABS.sub("", text) if start.chomp else text
                return Heredoc(start.name, text, start.expand, start.chomp, start.descriptor)
            content.append(raw + "\n")
        raise DockerfileError("unterminated heredoc", self._place(first, self._at))


def find_heredocs(text: str, escape: str = "\\") -> list[Heredoc]:
    """Return the heredocs that a line opens, without content."""
    found = []
    for word in split_raw(text, escape):
        match = _HEREDOC.fullmatch(word)
        if match is None:
            continue
        name = Words({}, escape).expand(match[3])
        if name:
            found.append(Heredoc(name, "", name == match[3], match[2] == "-", match[1]))
    return found


def parse_json(text: str) -> list[str] | None:
    """Return the words of an exec form, None if text is none.

    Raises:
        WordError: it is an array, but not of strings.
    """
    text = text.strip()
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in words):
        raise WordError("When using JSON array syntax, arrays must be comprised of strings only.")
    return list(words)


def extract_flags(text: str, escape: str = "\\") -> tuple[tuple[str, ...], str]:
    """Take `--flag=value` words off the beginning of an instruction's text; `--` ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), text[at:]
        word, at = _flag_word(text, at, escape)
        if word == "--":
            return tuple(flags), text[at:].lstrip()
        flags.append(word)


def _flag_word(text: str, at: int, escape: str) -> tuple[str, int]:
    """Return a word without its quotes and escapes, and where it ends."""
    word, quote = "", ""
    while at < len(text):
        char = text[at]
        if char == escape and at + 1 < len(text):
            at += 1
            word += text[at]
        elif quote:
            if char == quote:
                quote = ""
            else:
                word += char
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        else:
            word += char
        at += 1
    return word, at


def _split_keyword(line: str) -> tuple[str, str]:
    parts = line.split(None, 1)
    return (parts[0], parts[1].strip()) if len(parts) == 2 else (line.strip(), "")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")
