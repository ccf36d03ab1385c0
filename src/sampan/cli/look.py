"""`sampan top` and `sampan port`. Lean."""

from __future__ import annotations

import sys

from sampan.cli.outcome import Failed, UsageError
from sampan.cli.table import render
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

_TOP_WIDTH = 20  # docker's least column width here


def top(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """List the processes of a container, with the columns that ps(1) options ask for."""
    query = [("ps_args", " ".join(arguments[1:]))] if arguments[1:] else []
    document = context.session().call("GET", f"/containers/{quote(arguments[0])}/top", query)
    assert isinstance(document, dict)
    titles, processes = document.get("Titles"), document.get("Processes")
    rows = [titles, *processes] if isinstance(processes, list) else [titles]
    cells = [[str(cell) for cell in row] for row in rows if isinstance(row, list)]
    sys.stdout.write(render(cells, min_width=_TOP_WIDTH))
    return 0


def port(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """List published ports: all of a container, or the addresses of one."""
    document = context.session().call("GET", f"/containers/{quote(arguments[0])}/json")
    assert isinstance(document, dict)
    settings = document.get("NetworkSettings")
    ports = settings.get("Ports") if isinstance(settings, dict) else None
    published = {key: _addresses(value) for key, value in ports.items()} if isinstance(ports, dict) else {}
    if len(arguments) == 1:
        for line in _port_lines(published):
            print(line)
        return 0
    wanted = arguments[1] if "/" in arguments[1] else f"{arguments[1]}/tcp"
    if not wanted.partition("/")[0].isdigit():
        raise UsageError(f"{arguments[1]!r} is not a port", hint="such as 80 or 53/udp", code=1)
    if not published.get(wanted):
        raise Failed(f"no public port '{wanted}' published for {arguments[0]}")
    for address in published[wanted]:
        print(address)
    return 0


def show_ports(session: Session, container: str) -> None:
    """Tell on standard error where a container listens."""
    document = session.call("GET", f"/containers/{quote(container)}/json")
    settings = document.get("NetworkSettings") if isinstance(document, dict) else None
    ports = settings.get("Ports") if isinstance(settings, dict) else None
    published = {key: _addresses(value) for key, value in ports.items()} if isinstance(ports, dict) else {}
    for line in _port_lines(published):
        print(line, file=sys.stderr)


def _port_lines(published: dict[str, list[str]]) -> list[str]:
    return [f"{key} -> {address}" for key in sorted(published, key=_port_key) for address in published[key]]


def _addresses(value: JsonValue) -> list[str]:
    bindings = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [_address(str(item.get("HostIp")), str(item.get("HostPort"))) for item in bindings]


def _address(host: str, port_text: str) -> str:
    return f"[{host}]:{port_text}" if ":" in host else f"{host}:{port_text}"


def _port_key(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return (int(number) if number.isdigit() else 0, protocol)
