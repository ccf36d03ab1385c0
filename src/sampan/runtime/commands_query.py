"""`sampan-runtime` commands that print: state, list, ps, events. Shapes are runc's. Lean."""

from __future__ import annotations

import os
import select
import sys
import time

from sampan import fastjson
from sampan.errors import InvalidArgument, SampanError
from sampan.runtime import control
from sampan.runtime.state import list_states, load_state, require_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.fastjson import JsonValue
    from sampan.runtime.main import Globals
    from sampan.runtime.options import Values
    from sampan.runtime.state import State

_INTERVAL_S = 5.0


def state(common: Globals, options: Values, arguments: list[str]) -> int:
    """Print a container's state."""
    print_document(describe(load_state(common.root, arguments[0])))
    return 0


def describe(container: State) -> dict[str, JsonValue]:
    """Return a container's state with what runc adds to it: rootfs, created, owner."""
    document = container.oci().document()
    document["rootfs"] = container.rootfs
    document["created"] = container.created
    document["owner"] = _user_name(container.owner_uid)
    return {key: value for key, value in document.items() if _is_json(value)}  # type: ignore[misc]  # checked there


def _is_json(value: object) -> bool:
    return isinstance(value, str | int | dict)


def _user_name(uid: int) -> str:
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def list_containers(common: Globals, options: Values, arguments: list[str]) -> int:
    """Print all containers."""
    states = list_states(common.root)
    if options.flag("quiet"):
        sys.stdout.write("".join(f"{container.id}\n" for container in states))
        return 0
    documents = [describe(container) for container in states]
    if _format(options) == "json":
        sys.stdout.write(fastjson.dumps(documents or None) + "\n")  # runc prints null for none
        return 0
    rows = [
        [str(document[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")]
        for document in documents
    ]
    _print_table(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], rows)
    return 0


def processes(common: Globals, options: Values, arguments: list[str]) -> int:
    """Print the processes inside: their host pids, or the lines of ps(1) about them."""
    pids = control.container_processes(common.root, arguments[0])
    if _format(options) == "json":
        sys.stdout.write(fastjson.dumps(list(pids)) + "\n")
        return 0
    sys.stdout.write(_run_ps(arguments[1:] or ["-ef"], frozenset(pids)))
    return 0


def _run_ps(words: Sequence[str], pids: frozenset[int]) -> str:
    import subprocess

    output = subprocess.run(["/bin/ps", *words], capture_output=True, text=True, check=False)
    if output.returncode:
        raise SampanError(f"ps: {output.stderr.strip()}")
    title, *lines = output.stdout.splitlines()
    if "PID" not in title.split():
        raise InvalidArgument("ps: its output needs a column PID")
    column = title.split().index("PID")
    inside = [line for line in lines if int(line.split()[column]) in pids]
    return "\n".join([title, *inside]) + "\n"


def events(common: Globals, options: Values, arguments: list[str]) -> int:
    """Print usage every few seconds, and each out-of-memory kill, until the container ends."""
    interval_s = options.seconds("interval") or _INTERVAL_S
    container = load_state(common.root, arguments[0])
    require_status(container, ("created", "running", "paused"), "read the events of")
    _print_stats(common, container)
    if options.flag("stats"):
        return 0
    pidfd = container.open_init()
    manager = container.cgroup()
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        killed = manager.oom_kills()
        next_s = time.monotonic() + interval_s
        while not poll.poll(min(1000.0, max(0.0, next_s - time.monotonic()) * 1000)):
            now_killed = manager.oom_kills()
            for _ in range(now_killed - killed):
                _print_event("oom", container.id, None)
            killed = now_killed
            if time.monotonic() >= next_s:
                next_s += interval_s
                _print_stats(common, container)
    except (SampanError, FileNotFoundError):
        return 0  # it ended between two looks
    finally:
        manager.close()
        os.close(pidfd)
    return 0


def _print_stats(common: Globals, container: State) -> None:
    _print_event("stats", container.id, control.container_stats(common.root, container.id))


def _print_event(kind: str, id: str, data: JsonValue) -> None:
    event: dict[str, JsonValue] = {"type": kind, "id": id}
    if data is not None:
        event["data"] = data
    sys.stdout.write(fastjson.dumps(event) + "\n")
    sys.stdout.flush()


def _format(options: Values) -> str:
    value = options.text("format", "table")
    if value not in ("table", "json"):
        raise InvalidArgument(f"option --format: {value!r} is neither table nor json")
    return value


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("   ".join(cells).rstrip() + "\n")


def print_document(value: JsonValue) -> None:
    """Print a document indented by two spaces."""
    sys.stdout.write(_indented(value, "\n") + "\n")


def _indented(value: JsonValue, newline: str) -> str:
    inner = newline + "  "
    if isinstance(value, dict) and value:
        lines = [f"{fastjson.dumps(key)}: {_indented(item, inner)}" for key, item in value.items()]
        return "{" + inner + f",{inner}".join(lines) + newline + "}"
    if isinstance(value, list) and value:
        return "[" + inner + f",{inner}".join(_indented(item, inner) for item in value) + newline + "]"
    return fastjson.dumps(value)
