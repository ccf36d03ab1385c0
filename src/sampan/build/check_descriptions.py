"""Comments above FROM and ARG that are not their descriptions, for `--check`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.build import instructions as i
from sampan.build.parsing import Dockerfile
from sampan.build.syntax import Place


def missing_descriptions(dockerfile: Dockerfile) -> Iterator[tuple[str, str, Place]]:
    """Yield what is described wrongly: "build stage" or "argument", its name, its place."""
    first = dockerfile.tree.nodes[0].place.first
    for one in dockerfile.instructions:
        place = one.node.place
        comment = _comment_above(place)
        if not comment or (place.first == first and "=" in comment):  # directives are none
            continue
        if isinstance(one, i.From) and one.name and comment.split()[0].lower() != one.name:
            yield "build stage", one.name, place
        elif isinstance(one, i.Arg) and comment.split()[0] not in [name for name, _ in one.pairs]:
            yield "argument", one.pairs[0][0], place


def description_of(one: i.Instruction, name: str) -> str:
    """Return the comment above an instruction that describes it: `# NAME text`, without the name."""
    first, _, rest = _comment_above(one.node.place).partition(" ")
    return rest.strip() if name and first.lower() == name.lower() else ""


def _comment_above(place: Place) -> str:
    """Return the text of a comment that stands right above, alone: not below another one or a blank one."""
    above = place.lines[place.first - 2].strip() if place.first > 1 else ""
    return above.lstrip("#").strip() if above.startswith("#") else ""
