"""Commands on networks: create, ls, rm, connect, disconnect. Lean (decision 0002)."""

from __future__ import annotations

from sampan.cli.lifecycle import for_each
from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.outcome import UsageError
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.listing import Row
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

    Body = dict[str, JsonValue]

HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def create(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a network, and print its id."""
    body: Body = {
        "Name": arguments[0],
        "Driver": flags.text("driver", "bridge"),
        "Internal": flags.truth("internal"),
        "Attachable": flags.truth("attachable"),
        "EnableIPv6": flags.truth("ipv6"),
        "Options": dict(_pair("-o, --opt", text) for text in flags.items("opt")),
        "Labels": dict(_pair("--label", text) for text in flags.items("label")),
        "IPAM": {"Driver": "default", "Config": _pools(flags)},
    }
    made = context.session().call("POST", "/networks/create", body=body)
    print(made.get("Id") if isinstance(made, dict) else "")
    return 0


def _pools(flags: Flags) -> list[JsonValue]:
    """Return the subnet with what belongs to it; several ones are matched up by sampand's refusal."""
    subnets = flags.items("subnet")
    parts: Body = {
        key: flags.items(flag)[0]
        for key, flag in (("Subnet", "subnet"), ("IPRange", "ip-range"), ("Gateway", "gateway"))
        if flags.items(flag)
    }
    aux = dict(_pair("--aux-address", text) for text in flags.items("aux-address"))
    if aux:
        parts["AuxiliaryAddresses"] = aux
    more: list[JsonValue] = [{"Subnet": text} for text in subnets[1:]]
    return [parts, *more] if parts else []


def _pair(flag: str, text: str) -> tuple[str, JsonValue]:
    key, _, value = text.partition("=")
    if not key:
        raise UsageError(f"{flag}: {text!r} is not key=value", code=1)
    return key, value


def ls(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """List networks, by name."""
    filters = encode_filters(flags.items("filter"))
    found = context.session().call("GET", "/networks", [("filters", filters)] if filters else [])
    items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    rows = [_row(item, whole=flags.truth("no-trunc")) for item in items]
    show_rows(
        sorted(rows, key=lambda row: str(row["Name"])),
        form=flags.text("format"),
        fields=("ID", "Name", "Driver", "Scope"),
        headings=HEADINGS,
        quiet_field="ID" if flags.truth("quiet") else "",
    )
    return 0


def _row(item: Body, *, whole: bool) -> Row:
    labels = item.get("Labels")
    pairs = sorted(labels.items()) if isinstance(labels, dict) else []
    network_id = str(item.get("Id"))
    return {
        "ID": network_id if whole else network_id[:12],
        "Name": str(item.get("Name")),
        "Driver": str(item.get("Driver")),
        "Scope": str(item.get("Scope")),
        "IPv4": str(item.get("EnableIPv4") is True).lower(),
        "IPv6": str(item.get("EnableIPv6") is True).lower(),
        "Internal": str(item.get("Internal") is True).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in pairs),
        "CreatedAt": str(item.get("Created")),
    }


def remove(context: Context, flags: Flags, names: list[str]) -> int:
    """Remove networks."""
    del flags

    def step(session: Session, name: str) -> str:
        session.call("DELETE", f"/networks/{quote(name)}")
        return name

    return for_each(context, names, step)


def connect(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Put a container in one more network."""
    endpoint: Body = {}
    if flags.text("ip"):
        endpoint["IPAMConfig"] = {"IPv4Address": flags.text("ip")}
    if flags.items("alias"):
        endpoint["Aliases"] = list(flags.items("alias"))
    body: Body = {"Container": arguments[1], "EndpointConfig": endpoint}
    context.session().call("POST", f"/networks/{quote(arguments[0])}/connect", body=body)
    return 0


def disconnect(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Take a container out of a network."""
    body: Body = {"Container": arguments[1], "Force": flags.truth("force")}
    context.session().call("POST", f"/networks/{quote(arguments[0])}/disconnect", body=body)
    return 0
