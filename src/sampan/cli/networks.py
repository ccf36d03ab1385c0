"""Commands on networks: create, ls, rm, connect, disconnect. Lean (decision 0002)."""

from __future__ import annotations

import sys

from sampan.cli.lifecycle import for_each
from sampan.cli.listing import encode_filters, show_rows
from sampan.cli.outcome import UsageError
from sampan.cli.values import name_and_value
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
        "Scope": flags.text("scope"),
        "Options": dict(name_and_value("-o, --opt", text) for text in flags.items("opt")),
        "Labels": dict(name_and_value("--label", text) for text in flags.items("label")),
        "IPAM": {"Driver": flags.text("ipam-driver", "default"), "Config": _pools(flags)},
    }
    if flags.items("ipam-opt"):
        body["IPAM"] = {**_dict(body["IPAM"]), "Options": dict(map(_ipam_option, flags.items("ipam-opt")))}
    for flag, field in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6"), ("config-only", "ConfigOnly")):
        if flags.given(flag):
            body[field] = flags.truth(flag)
    if flags.text("config-from"):
        body["ConfigFrom"] = {"Network": flags.text("config-from")}
    made = context.session().call("POST", "/networks/create", body=body)
    answer = _dict(made)
    if answer.get("Warning"):
        print(f"warning: {answer['Warning']}", file=sys.stderr)
    print(answer.get("Id", ""))
    return 0


def _pools(flags: Flags) -> list[JsonValue]:
    """Return subnets, each with the range, the gateway and the aux addresses that lie in it.

    Raises:
        UsageError: one lies in none.
    """
    rest = [
        (f"--{flag}", text) for flag in ("ip-range", "gateway", "aux-address") for text in flags.items(flag)
    ]
    pools: list[Body] = [{"Subnet": text} for text in flags.items("subnet")]
    for flag, text in rest:
        name, address = name_and_value(flag, text) if flag == "--aux-address" else ("", text)
        pool = _pool_of(flag, str(address), pools)
        if name:
            _dict(pool.setdefault("AuxiliaryAddresses", {}))[name] = address
        else:
            pool["IPRange" if flag == "--ip-range" else "Gateway"] = address
    return list(pools)


def _pool_of(flag: str, address: str, pools: list[Body]) -> Body:
    if not pools:
        raise UsageError("every ip-range or gateway needs a --subnet", code=1)
    if len(pools) == 1:
        return pools[0]  # sampand says what is wrong with it
    from ipaddress import ip_interface, ip_network

    for pool in pools:
        try:
            inside = ip_interface(address).ip in ip_network(str(pool["Subnet"]), strict=False)
        except ValueError as exc:
            raise UsageError(f"{flag}: {exc}", code=1) from exc
        if inside:
            return pool
    raise UsageError(f"{flag}: {address} lies in no --subnet", code=1)


def _ipam_option(text: str) -> tuple[str, JsonValue]:
    return name_and_value("--ipam-opt", text)


def _dict(value: JsonValue) -> Body:
    return value if isinstance(value, dict) else {}


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
    from sampan.cli.endpoint_flags import network_settings

    body = {"Container": arguments[1], "EndpointConfig": network_settings(flags)}
    path = f"/networks/{quote(arguments[0])}/connect"
    context.session().call("POST", path, body=body)  # type: ignore[arg-type]  # plain JSON values
    return 0


def disconnect(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Take a container out of a network."""
    body: Body = {"Container": arguments[1], "Force": flags.truth("force")}
    context.session().call("POST", f"/networks/{quote(arguments[0])}/disconnect", body=body)
    return 0
