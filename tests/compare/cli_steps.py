"""One command of a script, and how a script is written down: a command a line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One docker command. key: its name in the list of known differences; what: what is compared."""

    key: str
    words: tuple[str, ...]
    stdin: bytes = b""
    what: tuple[str, ...] = ("code", "out", "err")
    unordered: bool = False


def steps_of(noun: str, lines: str, *, what: tuple[str, ...] = ("code", "out", "err")) -> list[Step]:
    """One step a line. `< text`: standard input; a leading `~`: the order of lines does not matter."""
    found = []
    for line in lines.strip().splitlines():
        line = line.strip()
        unordered = line.startswith("~")
        command, _, text = line.removeprefix("~").strip().partition(" << ")
        found.append(
            Step(
                key=f"{noun}: {command}",
                words=tuple(shlex.split(command)),
                stdin=text.encode(),
                what=what,
                unordered=unordered,
            )
        )
    return found
