"""Trees on a terminal: branches, a note behind each, colour only where it is wanted. Lean (decision 0002)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_NOTE_COLUMN = 60  # notes stand below each other where their branches are shorter than this
_HEX = frozenset("0123456789abcdef")


class Branch:
    """One line of a tree: its text, a note that explains it, and the branches below."""

    def __init__(
        self, text: str, note: str = "", children: Sequence[Branch] = (), *, heading: bool = False
    ) -> None:
        self.text = text
        self.note = note
        self.children = list(children)
        self.heading = heading


def tree_lines(branch: Branch, *, colour: bool) -> Iterator[str]:
    """Yield the lines of a tree, the root first."""
    yield _line("", branch, colour=colour)
    yield from _below(branch.children, "", colour=colour)


def _below(children: Sequence[Branch], indent: str, *, colour: bool) -> Iterator[str]:
    for child in children:
        last = child is children[-1]
        yield _line(f"{indent}{'└─ ' if last else '├─ '}", child, colour=colour)
        yield from _below(child.children, f"{indent}{'   ' if last else '│  '}", colour=colour)


def _line(prefix: str, branch: Branch, *, colour: bool) -> str:
    text, note = branch.text, branch.note and f"# {branch.note}"
    gap = " " * max(2, _NOTE_COLUMN - len(prefix) - len(text)) if note else ""
    if colour:
        text = f"{_BOLD}{text}{_PLAIN}" if branch.heading else text
        note = f"{_DIM}{note}{_PLAIN}" if note else ""
    return prefix + text + gap + note


def wants_colour(fd: int) -> bool:
    """Tell whether output to fd may be coloured: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shorten_ids(text: str) -> str:
    """Cut every 64-digit id in text to its first twelve digits."""
    out, at = "", 0
    while at < len(text):
        end = at
        while end < len(text) and text[end] in _HEX:
            end += 1
        if end - at == 64:
            out += text[at : at + 12]
        else:
            end = max(end, at + 1)
            out += text[at:end]
        at = end
    return out
