"""Commands on volumes: create, ls, rm, prune, export, import. Lean (decision 0002)."""

from __future__ import annotations

from sampan.cli.archives import check_destination, open_archive, read_pieces, write_archive
from sampan.cli.lifecycle import for_each
from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.values import name_and_value
from sampan.client.http import quote
from sampan.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

VOLUME_HEADINGS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Size": "SIZE",
    "Links": "LINKS",
    "Status": "STATUS",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
}


def create(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a volume, and print its name."""
    name = arguments[0] if arguments else flags.text("name")
    body: dict[str, JsonValue] = {
        "Name": name,
        "Driver": flags.text("driver", "local"),
        "DriverOpts": dict(name_and_value("-o, --opt", text) for text in flags.items("opt")),
        "Labels": dict(name_and_value("--label", text) for text in flags.items("label")),
    }
    made = context.session().call("POST", "/volumes/create", body=body)
    print(made.get("Name") if isinstance(made, dict) else name)
    return 0


def ls(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """List volumes."""
    filters = encode_filters(flags.items("filter"))
    found = context.session().call("GET", "/volumes", [("filters", filters)] if filters else [])
    volumes = found.get("Volumes") if isinstance(found, dict) else None
    rows = (
        [_row(item) for item in volumes or () if isinstance(item, dict)] if isinstance(volumes, list) else []
    )
    warnings = found.get("Warnings") if isinstance(found, dict) else None
    if isinstance(warnings, list):
        from sampan.cli.outcome import complain

        for text in warnings:
            complain(f"warning: {text}")
    show_rows(
        rows,
        form=flags.text("format"),
        fields=("Driver", "Name"),
        headings=VOLUME_HEADINGS,
        quiet_field="Name" if flags.truth("quiet") else "",
    )
    return 0


def _row(item: dict[str, JsonValue]) -> Row:
    labels = item.get("Labels")
    pairs = sorted(labels.items()) if isinstance(labels, dict) else []
    return {
        "Driver": str(item.get("Driver")),
        "Name": str(item.get("Name")),
        "Scope": str(item.get("Scope")),
        "Mountpoint": str(item.get("Mountpoint")),
        "Labels": ",".join(f"{key}={value}" for key, value in pairs),
        "Size": "N/A",
        "Links": "N/A",
        "Status": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
    }


def remove(context: Context, flags: Flags, names: list[str]) -> int:
    """Remove volumes; with --force a missing one is no error."""
    query = [("force", "1")] if flags.truth("force") else []

    def step(session: Session, name: str) -> str:
        session.call("DELETE", f"/volumes/{quote(name)}", query)
        return name

    return for_each(context, names, step)


def export(context: Context, flags: Flags, names: list[str]) -> int:
    """Write a volume's content to an archive."""
    path = flags.text("output")
    check_destination(path, instead="sampan volume export -o ARCHIVE VOLUME")
    write_archive(context.session().open("GET", f"/sampan/v1/volumes/{quote(names[0])}/export"), path)
    return 0


def import_(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Unpack an archive over a volume's content; a missing volume is made."""
    name, source = arguments[0], arguments[1] if len(arguments) > 1 else "-"
    fd = open_archive("volume import", source, instead=f"sampan volume import {name} FILE")
    try:
        context.session().open(
            "POST",
            f"/sampan/v1/volumes/{quote(name)}/import",
            chunks=read_pieces(fd),
            headers=[("Content-Type", "application/x-tar")],
        ).close()
    except NotFound as exc:
        if "page not found" not in str(exc):
            raise
        raise NotFound("this daemon cannot import volumes") from exc
    return 0
