"""`sampan system df`. Lean (decision 0002)."""

from __future__ import annotations

import sys
import time

from sampan.cli import images, ps
from sampan.cli.listing import show_rows
from sampan.cli.table import ago, human_size, parse_time, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.fastjson import JsonValue

    Document = dict[str, JsonValue]

HEADINGS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_KINDS = (
    ("Images", "Images"),
    ("Containers", "Containers"),
    ("Local Volumes", "Volumes"),
    ("Build Cache", "BuildCache"),
)
_REST = (
    ("logs, part of Containers", "Logs"),
    ("blobs the images came in", "Blobs"),
    ("init layers", "InitLayers"),
    ("temporary", "Temporary"),
    ("database", "Database"),
    ("everything below the data root", "Everything"),
)
_IMAGE_FIELDS = (
    "Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers",
)  # fmt: skip
_CACHE_HEADINGS = {
    "ID": "CACHE ID",
    "Type": "CACHE TYPE",
    "Size": "SIZE",
    "Created": "CREATED",
    "Used": "LAST USED",
    "Usage": "USAGE",
    "Shared": "SHARED",
}
_CONTAINER_FIELDS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")


def df(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Show what images, containers and volumes occupy on the disk."""
    session = context.session()
    if flags.truth("verbose"):
        found = session.call("GET", "/system/df")
        _show_all(found if isinstance(found, dict) else {})
        return 0
    found = session.call("GET", "/sampan/v1/system/df")
    document = found if isinstance(found, dict) else {}
    show_rows(
        (_row(title, document.get(key)) for title, key in _KINDS),
        form=flags.text("format"),
        fields=tuple(HEADINGS),
        headings=HEADINGS,
    )
    if not flags.text("format"):
        sys.stdout.write("\nIn bytes of files:\n")
        for title, key in _REST:
            sys.stdout.write(f"  {title + ':':<32}{_size(document.get(key))}\n")
    return 0


def _row(title: str, share: JsonValue) -> Row:
    values = share if isinstance(share, dict) else {}
    size, free = values.get("Size"), values.get("Reclaimable")
    percent = f" ({100 * free // size}%)" if isinstance(size, int) and isinstance(free, int) and size else ""
    return {
        "Type": title,
        "TotalCount": str(values.get("Total", 0)),
        "Active": str(values.get("Active", 0)),
        "Size": _size(size),
        "Reclaimable": f"{_size(free)}{percent}",
    }


def _size(value: JsonValue) -> str:
    return human_size(value if isinstance(value, int) else 0)


def _show_all(document: Document) -> None:
    now = time.time()
    image_rows = [
        row
        for item in _items(document, "Images")
        for row in list(images.image_rows(item, digests=False, full=False))[:1]
    ]
    _table("Images space usage:", image_rows, _IMAGE_FIELDS, images.IMAGE_HEADINGS)
    containers = [_without_root(item) for item in _items(document, "Containers")]
    rows = [ps.row(item, now=now, full=False) for item in containers]
    _table("\nContainers space usage:", rows, _CONTAINER_FIELDS, ps.HEADINGS)
    volumes = [_volume_row(item) for item in _items(document, "Volumes")]
    headings = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
    _table("\nLocal Volumes space usage:", volumes, tuple(headings), headings)
    caches = [_cache_row(item, now=now) for item in _items(document, "BuildCache")]
    own = sum(
        size
        for item in _items(document, "BuildCache")
        if not item.get("Shared") and isinstance(size := item.get("Size"), int)
    )
    _table(f"\nBuild cache usage: {human_size(own)}", caches, tuple(_CACHE_HEADINGS), _CACHE_HEADINGS)


def _items(document: Document, key: str) -> list[Document]:
    found = document.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _without_root(item: Document) -> Document:
    """The size of the whole root would be shown beside the container's own: it is the image's."""
    return {key: value for key, value in item.items() if key != "SizeRootFs"}


def _cache_row(item: Document, *, now: float) -> Row:
    return {
        "ID": str(item.get("ID"))[:12],
        "Type": str(item.get("Type")),
        "Size": _size(item.get("Size")),
        "Created": ago(parse_time(str(item.get("CreatedAt"))), now),
        "Used": ago(parse_time(str(item.get("LastUsedAt"))), now),
        "Usage": str(item.get("UsageCount", 0)),
        "Shared": "true" if item.get("Shared") else "false",
    }


def _volume_row(item: Document) -> Row:
    usage = item.get("UsageData")
    values = usage if isinstance(usage, dict) else {}
    return {
        "Name": str(item.get("Name")),
        "Links": str(values.get("RefCount", 0)),
        "Size": _size(values.get("Size")),
    }


def _table(title: str, rows: Sequence[Row], fields: Sequence[str], headings: Mapping[str, str]) -> None:
    cells = [[headings[field] for field in fields], *([str(row[field]) for field in fields] for row in rows)]
    sys.stdout.write(f"{title}\n\n{render(cells)}")
