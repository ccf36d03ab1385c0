"""`sampan-runtime` commands that change a container: start, kill, delete, pause, resume, update. Lean."""

from __future__ import annotations

import sys

from sampan import fastjson
from sampan.errors import InvalidArgument, Unsupported
from sampan.runtime import control
from sampan.runtime import start as starting
from sampan.runtime.delete import delete_container
from sampan.runtime.options import parse_number
from sampan.spec.limits import parse_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from sampan.fastjson import JsonValue
    from sampan.runtime.main import Globals
    from sampan.runtime.options import Values
else:
    import _signal as signals  # `signal` costs 3 ms

_SUFFIXES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def start(common: Globals, options: Values, arguments: list[str]) -> int:
    """Start a created container."""
    starting.start_container(common.root, arguments[0])
    return 0


def kill(common: Globals, options: Values, arguments: list[str]) -> int:
    """Send a signal."""
    signal = parse_signal(arguments[1] if len(arguments) > 1 else "TERM")
    control.kill_container(common.root, arguments[0], signal, everyone=options.flag("all"))
    return 0


def delete(common: Globals, options: Values, arguments: list[str]) -> int:
    """Remove a container."""
    delete_container(common.root, arguments[0], force=options.flag("force"))
    return 0


def pause(common: Globals, options: Values, arguments: list[str]) -> int:
    """Freeze a container."""
    control.pause_container(common.root, arguments[0])
    return 0


def resume(common: Globals, options: Values, arguments: list[str]) -> int:
    """Let a frozen container go on."""
    control.resume_container(common.root, arguments[0])
    return 0


def update(common: Globals, options: Values, arguments: list[str]) -> int:
    """Change limits."""
    for name in ("l3-cache-schema", "mem-bw-schema"):
        if options.text(name):
            raise Unsupported(f"option --{name}: sampan does not manage Intel RDT")
    source = options.text("resources")
    raw = _read_document(source) if source else _from_options(options)
    control.update_container(common.root, arguments[0], parse_resources(raw))
    return 0


def _read_document(source: str) -> JsonValue:
    if source == "-":
        return fastjson.loads(sys.stdin.buffer.read())
    with open(source, "rb") as file:
        return fastjson.loads(file.read())


def _from_options(options: Values) -> JsonValue:
    """Return linux.resources as the options say it; 0 is what runc takes for "not given"."""
    document: dict[str, JsonValue] = {
        "memory": _group(
            limit=_size(options, "memory"),
            reservation=_size(options, "memory-reservation"),
            swap=_size(options, "memory-swap"),
        ),
        "cpu": _group(
            shares=options.number("cpu-share"),
            quota=options.number("cpu-quota"),
            burst=options.number("cpu-burst"),
            period=options.number("cpu-period"),
            realtimeRuntime=options.number("cpu-rt-runtime"),
            realtimePeriod=options.number("cpu-rt-period"),
            idle=options.number("cpu-idle"),
            cpus=options.text("cpuset-cpus"),
            mems=options.text("cpuset-mems"),
        ),
        "blockIO": _group(weight=options.number("blkio-weight")),
    }
    pids = options.number("pids-limit")
    if pids:
        document["pids"] = {"limit": pids}
    return document


def _group(**values: int | str | None) -> JsonValue:
    return {name: value for name, value in values.items() if value}


def _size(options: Values, name: str) -> int | None:
    """Read bytes, with a suffix such as 512m or 2GiB."""
    text = options.text(name)
    if not text:
        return None
    number = text.rstrip("bBiIkKmMgGtT")
    suffix = text[len(number) :].lower().removesuffix("ib").removesuffix("b")
    if suffix not in _SUFFIXES:
        raise InvalidArgument(f"option --{name}: {text!r} is not a size such as 512m")
    return parse_number(number, f"option --{name}") * _SUFFIXES[suffix]


def parse_signal(text: str) -> int:
    """Read a signal: a number, or a name with or without SIG.

    Raises:
        InvalidArgument: there is no such signal.
    """
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 4 else 0
    else:
        name = text.upper().removeprefix("SIG")
        number = getattr(signals, f"SIG{name}", 0) if name.isalnum() else 0  # not SIG_IGN
    if not 0 < number < 65:
        raise InvalidArgument(f"unknown signal {text!r}")
    return int(number)
