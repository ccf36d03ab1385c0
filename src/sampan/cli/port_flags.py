"""`--publish` and `--expose`. Lean; loaded when one is given."""

from __future__ import annotations

import _socket

from sampan.cli.outcome import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.cli.create_body import Body
    from sampan.cli.flags import Flags

_PROTOCOLS = ("tcp", "udp", "sctp")
_FORM = "[address:][host port:]container port[/protocol]"


def add_ports(flags: Flags, body: Body, host: Body) -> None:
    """Put published and exposed ports into a create request.

    Raises:
        UsageError: a value is wrong.
    """
    bindings = port_bindings(flags.items("publish"))
    exposed: dict[str, Body] = {port: {} for port in bindings}
    for text in flags.items("expose"):
        number, _, protocol = text.partition("/")
        first, last = _parse_range("--expose", number, text)
        _check_protocol("--expose", protocol or "tcp", text)
        exposed.update({f"{port}/{protocol or 'tcp'}": {} for port in range(first, last + 1)})
    body["ExposedPorts"] = exposed
    if bindings:
        host["PortBindings"] = bindings


def port_bindings(texts: Sequence[str]) -> dict[str, list[Body]]:
    """Return the bindings that publish flags name, by container port.

    Raises:
        UsageError: a value is wrong.
    """
    bindings: dict[str, list[Body]] = {}
    for text in texts:
        for port, binding in parse_publish(text):
            bindings.setdefault(port, []).append(binding)
    return bindings


def parse_publish(text: str) -> list[tuple[str, Body]]:
    """Return `(port/protocol, binding)` for each port that one `--publish` names.

    Raises:
        UsageError: text has another form, or its two ranges differ in length.
    """
    if "=" in text:
        return _parse_long_publish(text)
    rest, _, protocol = text.partition("/")
    address, outside, inside = _split_publish(rest, text)
    _check_protocol("-p, --publish", protocol or "tcp", text)
    return _bind("-p, --publish", address, outside, inside, protocol or "tcp", text)


def _split_publish(rest: str, text: str) -> tuple[str, str, str]:
    address = ""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise UsageError(f"-p, --publish: {text!r} is not {_FORM}")
        rest = rest[1:]
    parts = rest.rsplit(":", 2)
    if len(parts) == 3 and not address:
        address = parts[0]
    elif len(parts) == 3:
        raise UsageError(f"-p, --publish: {text!r} is not {_FORM}")
    return address, parts[-2] if len(parts) > 1 else "", parts[-1]


def _check_address(flag: str, address: str, text: str) -> None:
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, address)
        except OSError:
            continue
        return
    raise UsageError(f"{flag}: {address!r} in {text!r} is not an address", hint=_FORM)


def _parse_long_publish(text: str) -> list[tuple[str, Body]]:
    from sampan.cli.fields import split_fields

    fields = dict(
        (part.partition("=")[0], part.partition("=")[2]) for part in split_fields("-p, --publish", text)
    )
    unknown = [
        key for key in fields if key not in ("target", "published", "protocol", "mode", "host_ip", "name")
    ]
    if unknown or not fields.get("target"):
        what = f"unknown key {unknown[0]!r}" if unknown else "no target"
        raise UsageError(f"-p, --publish: {text!r} has {what}", hint="target=80,published=8080,protocol=tcp")
    protocol = fields.get("protocol") or "tcp"
    _check_protocol("-p, --publish", protocol, text)
    outside = fields.get("published", "")
    return _bind("-p, --publish", fields.get("host_ip", ""), outside, fields["target"], protocol, text)


def _bind(
    flag: str, address: str, outside: str, inside: str, protocol: str, text: str
) -> list[tuple[str, Body]]:
    first, last = _parse_range(flag, inside, text)
    if address:
        _check_address(flag, address, text)
    if not outside:
        return [
            (f"{port}/{protocol}", {"HostIp": address, "HostPort": ""}) for port in range(first, last + 1)
        ]
    low, high = _parse_range(flag, outside, text)
    if first == last and high > low:  # one port, published at any free one of a range
        return [(f"{first}/{protocol}", {"HostIp": address, "HostPort": outside})]
    if high - low != last - first:
        raise UsageError(f"{flag}: {text!r}: the two ranges differ in length")
    return [
        (f"{first + step}/{protocol}", {"HostIp": address, "HostPort": str(low + step)})
        for step in range(last - first + 1)
    ]


def _parse_range(flag: str, numbers: str, text: str) -> tuple[int, int]:
    low, dash, high = numbers.partition("-")
    high = high if dash else low
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 65536 for part in (low, high)):
        raise UsageError(f"{flag}: {numbers!r} in {text!r} is not a port", hint=f"1 to 65535: {_FORM}")
    if int(high) < int(low):
        raise UsageError(f"{flag}: the range {numbers!r} in {text!r} runs backwards")
    return int(low), int(high)


def _check_protocol(flag: str, protocol: str, text: str) -> None:
    if protocol not in _PROTOCOLS:
        raise UsageError(f"{flag}: protocol {protocol!r} in {text!r} is not tcp, udp or sctp")
