"""Ports as docker lists them: `0.0.0.0:8080->80/tcp, 90-92/udp`. Lean; loaded for containers with ports."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.fastjson import JsonValue

    # address, protocol, first container port, first host port (0: only exposed), how many follow
    Run = tuple[str, str, int, int, int]


def ports_text(ports: Sequence[dict[str, JsonValue]]) -> str:
    """Return the ports of one container, neighbours joined into ranges: published ones first by address."""
    entries = sorted({_entry(port) for port in ports})
    runs: list[Run] = []
    for address, protocol, private, public in entries:
        if runs and _continues(runs[-1], address, protocol, private, public):
            first = runs[-1]
            runs[-1] = (*first[:4], first[4] + 1)
        else:
            runs.append((address, protocol, private, public, 1))
    return ", ".join(_show(run) for run in runs)


def _entry(port: dict[str, JsonValue]) -> tuple[str, str, int, int]:
    private, public = port.get("PrivatePort"), port.get("PublicPort")
    return (
        str(port.get("IP") or ""),
        str(port.get("Type") or "tcp"),
        private if isinstance(private, int) else 0,
        public if isinstance(public, int) else 0,
    )


def _continues(run: Run, address: str, protocol: str, private: int, public: int) -> bool:
    step = run[4]
    return run[:3] == (address, protocol, private - step) and (run[3] + step if run[3] else 0) == public


def _show(run: Run) -> str:
    address, protocol, private, public, count = run
    inside = _span(private, count)
    if not public:
        return f"{inside}/{protocol}"
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{_span(public, count)}->{inside}/{protocol}"


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
