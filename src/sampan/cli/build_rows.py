"""Lists of what builds keep, as sampand gives them: objects with a size. Lean."""

from __future__ import annotations

from sampan.cli.listing import show_rows
from sampan.cli.table import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.fastjson import JsonValue


def show_kept(context: Context, flags: Flags, path: str, headings: Mapping[str, str]) -> int:
    """Ask for a list and show the fields that have headings."""
    found = context.session().call("GET", path)
    rows: list[Row] = [
        {name: _shown(name, one.get(name)) for name in headings}
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict)
    ]
    show_rows(rows, form=flags.text("format"), fields=tuple(headings), headings=dict(headings))
    return 0


def _shown(name: str, value: JsonValue) -> str:
    if name == "Size":
        return human_size(value if isinstance(value, int) else 0)
    return str(value).lower() if isinstance(value, bool) else str(value)
