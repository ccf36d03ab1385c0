"""Looking into images: tree, diff, mount, unmount, flatten. Lean."""

from __future__ import annotations

import os
import sys

from sampan.cli.images import split_reference
from sampan.cli.lifecycle import for_each
from sampan.cli.listing import show_rows
from sampan.cli.table import human_size, short_id, shorten
from sampan.cli.tree import Branch, tree_lines, wants_colour
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

    Layer = dict[str, JsonValue]

_STEP_WIDTH = 60
DIFF_HEADINGS = {"Kind": "KIND", "Path": "PATH", "Why": "WHY", "SizeDelta": "SIZE"}


def tree(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Show which layers images share."""
    found = context.session().call("GET", "/sampan/v1/images/tree", [("names", name) for name in arguments])
    layers = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    above: dict[str, list[Layer]] = {}
    for layer in layers:
        above.setdefault(str(layer["Parent"]), []).append(layer)
    each = flags.truth("layers")
    root = Branch("layers", children=[_branch(layer, above, each) for layer in above.get("", [])])
    colour = wants_colour(1)
    if layers:
        sys.stdout.write("".join(f"{line}\n" for line in tree_lines(root, colour=colour)))
    return 0


def _branch(layer: Layer, above: dict[str, list[Layer]], each: bool) -> Branch:
    """Return a layer with all above it; a stretch without branches is one line unless each is wanted."""
    stretch = [layer]
    while True:
        top = stretch[-1]
        following = above.get(str(top["Id"]), [])
        if each or top.get("Images") or len(following) != 1:
            break
        stretch.append(following[0])
    size = sum(one["Size"] for one in stretch if isinstance(one["Size"], int))
    images = [str(name) for name in top["Images"]] if isinstance(top["Images"], list) else []
    names = [Branch(_short(name), heading=True) for name in images]
    children = names + [_branch(one, above, each) for one in following]
    if each:
        text = f"{short_id(str(layer['DiffId']))} {human_size(size, digits=3)}"
        step = " ".join(str(layer["CreatedBy"]).split())
        return Branch(text, shorten(step, _STEP_WIDTH), children)
    count = f"{len(stretch)} layer{'' if len(stretch) == 1 else 's'}"
    return Branch(f"{count} {human_size(size, digits=3)}", children=children)


def _short(name: str) -> str:
    return short_id(name) if name.startswith("sha256:") else name


def diff(context: Context, flags: Flags, arguments: list[str]) -> int:
    """List the files that differ between two images; 1 if there are any and --exit-code is given."""
    query = [("from", arguments[0]), ("to", arguments[1])]
    found = context.session().call("GET", "/sampan/v1/images/diff", query)
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if flags.text("format"):
        show_rows(
            [{key: _text(one, key) for key in DIFF_HEADINGS} for one in rows],
            form=flags.text("format"),
            fields=tuple(DIFF_HEADINGS),
            headings=DIFF_HEADINGS,
        )
    else:
        sys.stdout.write("".join(_diff_line(one) for one in rows))
    return 1 if rows and flags.truth("exit-code") else 0


def _text(row: dict[str, JsonValue], key: str) -> str:
    return str(row.get(key, ""))


def _diff_line(row: dict[str, JsonValue]) -> str:
    delta = row.get("SizeDelta")
    size = (
        f"{'+' if delta > 0 else '-'}{human_size(abs(delta), digits=3)}"
        if isinstance(delta, int) and delta
        else ""
    )
    notes = ", ".join(note for note in (_text(row, "Why"), size) if note)
    return f"{_text(row, 'Kind')} {_text(row, 'Path')}{f'  # {notes}' if notes else ''}\n"


def mount(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Mount images read-only and print where; without one, list those that are mounted."""
    if arguments:

        def step(session: Session, name: str) -> str | None:
            done = session.call("POST", f"/sampan/v1/images/{quote(name)}/mount")
            return str(done["Path"]) if isinstance(done, dict) else None

        return for_each(context, arguments, step)
    found = context.session().call("GET", "/sampan/v1/images/mounts")
    rows: list[Row] = []
    for one in found if isinstance(found, list) else []:
        if isinstance(one, dict):
            names = one["Names"] if isinstance(one["Names"], list) else []
            shown = ", ".join(str(name) for name in names) or short_id(str(one["Id"]))
            rows.append({"Image": shown, "Path": str(one["Path"])})
    headings = {"Image": "IMAGE", "Path": "PATH"}
    show_rows(rows, form=flags.text("format"), fields=("Image", "Path"), headings=headings)
    return 0


def unmount(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Undo `image mount`."""
    names = arguments
    if flags.truth("all"):
        found = context.session().call("GET", "/sampan/v1/images/mounts")
        names = [str(one["Id"]) for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def step(session: Session, name: str) -> str | None:
        done = session.call("DELETE", f"/sampan/v1/images/{quote(name)}/mount")
        return os.path.basename(str(done["Path"])) if isinstance(done, dict) else None

    return for_each(context, names, step)


def flatten(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Make an image of one layer, and print its id."""
    repository, tag = split_reference(arguments[1]) if len(arguments) > 1 else ("", "")
    query = [("repo", repository), ("tag", tag)]
    done = context.session().call("POST", f"/sampan/v1/images/{quote(arguments[0])}/flatten", query)
    sys.stdout.write(f"{done['Id'] if isinstance(done, dict) else ''}\n")
    return 0
