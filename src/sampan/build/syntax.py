"""The syntax tree of a Dockerfile, and errors that know where they belong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a Dockerfile, counted from 1."""

    file: str
    first: int
    last: int
    lines: tuple[str, ...] = field(default=(), repr=False, compare=False)  # the whole file

    def excerpt(self) -> str:
        """Return the source lines with one around them, the meant ones marked."""
        shown = [
            f"{number:4} | {'>>>' if self.first <= number <= self.last else '   '} {self.lines[number - 1]}"
            for number in range(max(1, self.first - 1), min(len(self.lines), self.last + 1) + 1)
        ]
        rule = "-" * 20
        return "\n".join([f"{self.file}:{self.first}", rule, *shown, rule])


class DockerfileError(InvalidArgument):
    """Something in a Dockerfile is wrong; the message names the line, hint shows it."""

    def __init__(self, message: str, place: Place, *, parsing: bool = True) -> None:
        text = f"dockerfile parse error on line {place.first}: {message}" if parsing else message
        super().__init__(text, hint=place.excerpt())
        self.place = place
        self.reason = message


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A document in the file. expand: its word was not quoted; chomp: `<<-`, leading tabs are gone."""

    name: str
    content: str
    expand: bool
    chomp: bool = False
    descriptor: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One instruction: keyword in upper case, text what follows its flags, original the logical line."""

    keyword: str
    text: str
    original: str
    place: Place
    flags: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    def error(self, message: str) -> DockerfileError:
        """Return an error of this instruction."""
        return DockerfileError(message, self.place)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that works but is hardly meant."""

    message: str
    place: Place


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole file. directives: lower-case name → value."""

    nodes: tuple[Node, ...]
    directives: dict[str, str]
    warnings: tuple[Warned, ...] = ()

    @property
    def escape(self) -> str:
        """The escape character in force."""
        return self.directives.get("escape", "\\")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)`, or nothing when no known word is near."""
    import difflib  # only after something was wrong

    near = difflib.get_close_matches(word.lower(), {one.lower(): None for one in known}, n=1, cutoff=0.6)
    for one in known:
        if near and one.lower() == near[0]:
            return f" (did you mean {one}?)"
    return ""
