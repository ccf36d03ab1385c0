"""`search`. Lean."""

from __future__ import annotations

from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.registry_auth import auth_header
from sampan.cli.table import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row

HEADINGS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_WIDTH = 45


def search(context: Context, flags: Flags, arguments: list[str]) -> int:
    """List images with a word in their name."""
    query = [("term", arguments[0]), ("limit", str(flags.number("limit")))]
    if flags.items("filter"):
        query.append(("filters", encode_filters(flags.items("filter"))))
    session = context.session()
    found = session.call("GET", "/images/search", query, headers=auth_header(arguments[0]))
    rows: list[Row] = []
    for one in found if isinstance(found, list) else []:
        if isinstance(one, dict):
            text = " ".join(str(one.get("description") or "").split())
            rows.append(
                {
                    "Name": str(one.get("name")),
                    "Description": text if flags.truth("no-trunc") else shorten(text, _WIDTH),
                    "StarCount": str(one.get("star_count", 0)),
                    "IsOfficial": "[OK]" if one.get("is_official") else "",
                    "IsAutomated": "",
                }
            )
    fields = ("Name", "Description", "StarCount", "IsOfficial")
    show_rows(rows, form=flags.text("format"), fields=fields, headings=HEADINGS)
    return 0
