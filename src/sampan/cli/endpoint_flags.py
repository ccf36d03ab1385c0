"""The settings of network endpoints: `--network name=…`, `--ip`, `--link`. Lean; loaded when one is given."""

from __future__ import annotations

from sampan.cli.fields import split_fields
from sampan.cli.outcome import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.create_body import Body
    from sampan.cli.flags import Flags


def add_endpoints(flags: Flags, wanted: list[str], aliases: list[str], body: Body, host: Body) -> None:
    """Put networks with settings into a create request; those of plain flags belong to the first network.

    Raises:
        UsageError: a network is named twice, has an unknown key, or no name.
    """
    endpoints: dict[str, Body] = {}
    for text in wanted:
        name, endpoint = _parse_network(text)
        if name in endpoints:
            raise UsageError(f"--network: {name!r} is given twice")
        if not endpoints:
            host["NetworkMode"] = name
            _add_plain_settings(flags, aliases, endpoint)
        endpoints[name] = endpoint
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    if flags.text("mac-address"):
        body["MacAddress"] = flags.text("mac-address")  # API below 1.44 reads it here


def _parse_network(text: str) -> tuple[str, Body]:
    if "=" not in text:
        return text, {}
    name, endpoint = "", {}  # type: str, Body
    for field in split_fields("--network", text):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"--network: {field!r} in {text!r} is not key=value")
        if key == "name":
            name = value
        else:
            _set_network_field(endpoint, key, value, text)
    if not name:
        raise UsageError(f"--network: {text!r} has no name", hint="name=NETWORK,alias=…,ip=…")
    return name, endpoint


def _set_network_field(endpoint: Body, key: str, value: str, text: str) -> None:
    if key == "alias":
        _append(endpoint, "Aliases", value)
    elif key in ("ip", "ip6"):
        _ipam(endpoint)["IPv4Address" if key == "ip" else "IPv6Address"] = value
    elif key == "link-local-ip":
        _append(_ipam(endpoint), "LinkLocalIPs", value)
    elif key == "mac-address":
        endpoint["MacAddress"] = value
    elif key == "driver-opt":
        name, _, content = value.partition("=")
        options = endpoint.setdefault("DriverOpts", {})
        assert isinstance(options, dict)
        options[name] = content
    elif key == "gw-priority":
        if not value.lstrip("-").isdigit():
            raise UsageError(f"--network: gw-priority {value!r} in {text!r} is not a whole number")
        endpoint["GwPriority"] = int(value)
    else:
        known = "name alias ip ip6 link-local-ip mac-address driver-opt gw-priority"
        raise UsageError(f"--network: unknown key {key!r} in {text!r}", hint=f"keys: {known}")


def network_settings(flags: Flags) -> Body:
    """Return what the flags of `network connect` say of an endpoint.

    Raises:
        UsageError: a driver option without a name.
    """
    endpoint: Body = {}
    _add_plain_settings(flags, flags.items("alias"), endpoint)
    for text in flags.items("driver-opt"):
        if not text.partition("=")[0]:
            raise UsageError(f"--driver-opt: {text!r} is not key=value")
        _set_network_field(endpoint, "driver-opt", text, text)
    if flags.given("gw-priority"):
        endpoint["GwPriority"] = flags.number("gw-priority")
    return endpoint


def _add_plain_settings(flags: Flags, aliases: list[str], endpoint: Body) -> None:
    for alias in aliases:
        _append(endpoint, "Aliases", alias)
    for link in flags.items("link"):
        _append(endpoint, "Links", link)
    for key in ("ip", "ip6", "mac-address"):
        if flags.text(key):
            _set_network_field(endpoint, key, flags.text(key), "")
    for address in flags.items("link-local-ip"):
        _append(_ipam(endpoint), "LinkLocalIPs", address)


def _ipam(endpoint: Body) -> Body:
    inner = endpoint.setdefault("IPAMConfig", {})
    assert isinstance(inner, dict)
    return inner


def _append(target: Body, key: str, value: str) -> None:
    values = target.setdefault(key, [])
    assert isinstance(values, list)
    values.append(value)
