"""`sampan ps`. Lean (decision 0002)."""

from __future__ import annotations

import time
from _json import encode_basestring

from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.table import ago, human_size, local_time, short_id, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.fastjson import JsonValue

    Summary = dict[str, JsonValue]

HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
_FIELDS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_COMMAND_WIDTH, _MOUNT_WIDTH = 20, 15


def ps(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """List containers."""
    form = flags.text("format")
    with_size = flags.truth("size")
    query = [("zombies", "1")]  # sampand's own; Docker's does not look at it
    if flags.truth("all"):
        query.append(("all", "1"))
    limit = 1 if flags.truth("latest") else flags.number("last", -1)
    if limit > 0:
        query.append(("limit", str(limit)))
    if with_size or ".Size" in form:
        query.append(("size", "1"))
    if flags.given("filter"):
        query.append(("filters", encode_filters(flags.items("filter"))))
    found = context.session().call("GET", "/containers/json", query)
    assert isinstance(found, list)
    now, full = time.time(), flags.truth("no-trunc")
    show_rows(
        (row(item, now=now, full=full) for item in found if isinstance(item, dict)),
        form=form,
        fields=(*_FIELDS, "Size") if with_size else _FIELDS,
        headings=HEADINGS,
        quiet_field="ID" if flags.truth("quiet") else "",
    )
    return 0


def row(item: Summary, *, now: float, full: bool) -> Row:
    """Return the fields of one container as docker's templates name them."""
    labels = _mapping(item.get("Labels"))
    created = item.get("Created")
    moment = created if isinstance(created, int) else 0
    image, command, container = str(item.get("Image")), str(item.get("Command")), str(item.get("Id"))
    return {
        "ID": container if full else short_id(container),
        "Image": image if full or not image.startswith("sha256:") else short_id(image),
        "Command": encode_basestring(command if full else shorten(command, _COMMAND_WIDTH)),
        "CreatedAt": local_time(moment),
        "RunningFor": ago(moment, now),
        "Status": _status(item),
        "State": str(item.get("State")),
        "Ports": _ports(item.get("Ports")),
        "Names": _names(item.get("Names"), full=full),
        "Size": _size(item),
        "Labels": ",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        "Mounts": _mounts(item.get("Mounts"), full=full),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in _dicts(item.get("Mounts")))),
        "Networks": ",".join(sorted(_mapping(_mapping(item.get("NetworkSettings")).get("Networks")))),
        "Label": lambda name: labels.get(str(name), ""),
    }


def _status(item: Summary) -> str:
    zombies = item.get("Zombies")
    if not isinstance(zombies, int) or zombies <= 0:
        return str(item.get("Status"))
    return f"{item.get('Status')} ({zombies} zombie{'s' if zombies > 1 else ''})"


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _dicts(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _names(value: JsonValue, *, full: bool) -> str:
    """Return names without their slash; those with a second one are links of other containers."""
    names = [str(name).removeprefix("/") for name in value] if isinstance(value, list) else []
    return ",".join(name for name in names if full or "/" not in name)


def _mounts(value: JsonValue, *, full: bool) -> str:
    names = [str(mount.get("Name") or mount.get("Source")) for mount in _dicts(value)]
    return ",".join(name if full else shorten(name, _MOUNT_WIDTH) for name in names)


def _size(item: Summary) -> str:
    own, total = item.get("SizeRw"), item.get("SizeRootFs")
    text = human_size(own if isinstance(own, int) else 0, digits=3)
    return f"{text} (virtual {human_size(total, digits=3)})" if isinstance(total, int) and total > 0 else text


def _ports(value: JsonValue) -> str:
    ports = _dicts(value)
    if not ports:
        return ""
    from sampan.cli.ports_text import ports_text

    return ports_text(ports)
