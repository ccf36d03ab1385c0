"""Commands on a container's files but `cp`: diff, export, commit. Lean (decision 0002)."""

from __future__ import annotations

import sys

from sampan.cli.archives import check_destination, write_archive
from sampan.cli.outcome import Failed
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags

_KINDS = ("C", "A", "D")


def diff(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """List changed (C), added (A) and deleted (D) files."""
    if not arguments[0]:
        raise Failed("the container's name is empty")
    found = context.session().call("GET", f"/containers/{quote(arguments[0])}/changes")
    lines = []
    for change in found if isinstance(found, list) else []:
        if isinstance(change, dict):
            kind = change.get("Kind")
            letter = _KINDS[kind] if isinstance(kind, int) and 0 <= kind < len(_KINDS) else "?"
            lines.append(f"{letter} {change.get('Path')}\n")
    sys.stdout.write("".join(lines))
    return 0


def export(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Write a container's root as an archive."""
    path = flags.text("output")
    check_destination(path, instead="sampan export -o ARCHIVE CONTAINER")
    write_archive(context.session().open("GET", f"/containers/{quote(arguments[0])}/export"), path)
    return 0


def commit(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make an image of a container, and print its id."""
    from sampan.cli.images import split_reference

    repository, tag = split_reference(arguments[1]) if len(arguments) > 1 else ("", "")
    pause = flags.truth("pause", True) and not flags.truth("no-pause")
    query = [
        ("container", arguments[0]),
        ("repo", repository),
        ("tag", tag),
        ("author", flags.text("author")),
        ("comment", flags.text("message")),
        ("pause", "1" if pause else "0"),
        *(("changes", text) for text in flags.items("change")),
    ]
    found = context.session().call("POST", "/commit", query, body={})
    image_id = found.get("Id") if isinstance(found, dict) else None
    sys.stdout.write(f"{image_id}\n")
    return 0
