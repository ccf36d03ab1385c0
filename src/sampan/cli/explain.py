"""`sampan explain run …` and `sampan inspect --anatomy`: what a container is made of, as a tree. Lean."""

from __future__ import annotations

import os
import sys

from sampan.cli.outcome import UsageError
from sampan.cli.pretty import pretty_json
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.fastjson import JsonValue


def show(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Print what a running container is made of, read back from the kernel."""
    document = context.session().call("GET", f"/sampan/v1/containers/{quote(arguments[0])}/anatomy")
    _print(document, flags, arguments[0])
    return 0


def _print(document: JsonValue, flags: Flags, name: str) -> None:
    form = flags.text("format") or "tree"
    if form == "json":
        print(pretty_json(document))
    elif form == "tree":
        from sampan.cli.anatomy_text import anatomy_lines

        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print("\n".join(anatomy_lines(document, name, colour=colour)))
    else:
        raise UsageError(f"--format: {form!r} is neither tree nor json")
