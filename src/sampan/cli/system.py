"""`sampan system start|stop|status|info` and `sampan version`. Lean."""

from __future__ import annotations

import os
import select
import time

from sampan.cli.outcome import Failed, UsageError
from sampan.cli.pretty import compact_json
from sampan.client.address import connect
from sampan.client.session import API_VERSION, Session
from sampan.errors import NotFound, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.template_functions import Value
    from sampan.fastjson import JsonValue

_STOP_S = 15
_RETRY_S = 0.02
_NOT_RUNNING = 3  # as `systemctl status` and LSB init scripts have it


def start(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Start sampand, unless it runs."""
    arguments = []
    for name in ("data-root", "run-root"):
        if flags.text(name):
            arguments += [f"--{name}", os.path.abspath(flags.text(name))]
    if context.chosen:
        arguments += ["-H", context.address.text]
    if not arguments and _running(context) is not None:
        print("sampand runs already")
        return 0
    from sampan.cli import autostart

    failure = autostart.start(arguments)
    if failure:
        raise Failed(f"cannot start sampand: {failure}", hint=f"its log is {autostart.log_path()}")
    print("sampand runs")
    return 0


def stop(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Stop sampand and wait until it has ended; containers run on."""
    timeout_s = flags.number("timeout", _STOP_S)
    if timeout_s < 0:
        raise UsageError(f"-t, --timeout: {timeout_s} is negative", code=1)
    status = _running(context)
    if status is None:
        print("sampand does not run")
        return 0
    pid = status.get("Pid")
    watched = _open_process(pid) if isinstance(pid, int) and context.address.kind == "unix" else -1
    try:
        _session(context).call("POST", "/sampan/v1/system/stop")
        _wait_end(context, watched, timeout_s)
    finally:
        if watched >= 0:
            os.close(watched)
    print("sampand has stopped; containers run on")
    return 0


def status(context: Context, _flags: Flags, _arguments: list[str]) -> int:
    """Tell whether sampand runs, and where."""
    found = _running(context)
    if found is None:
        print(f"sampand does not run at {context.address.text}")
        return _NOT_RUNNING
    hosts = found.get("Hosts")
    rows = [
        ("state", "running"),
        ("version", str(found.get("Version"))),
        ("pid", str(found.get("Pid"))),
        (
            "address",
            ", ".join(str(host) for host in hosts) if isinstance(hosts, list) else context.address.text,
        ),
        ("data root", str(found.get("DataRoot"))),
        ("run root", str(found.get("RunRoot"))),
    ]
    for key, value in rows:
        print(f"{key + ':':<11}{value}")
    return 0


def _session(context: Context) -> Session:
    """Return a session that never starts a daemon."""
    return Session(context.address, connector=connect)


def _running(context: Context) -> dict[str, JsonValue] | None:
    """Return sampand's own account of itself; None when nobody listens."""
    try:
        document = _session(context).call("GET", "/sampan/v1/system/status")
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return None
    except NotFound as exc:
        raise Failed(f"the daemon at {context.address.text} is not sampand") from exc
    except PermissionError as exc:
        raise Failed(
            f"permission denied on {context.address.text}", hint="use sudo, or join its group"
        ) from exc
    return document if isinstance(document, dict) else {}


def _open_process(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1  # gone already, or of another machine behind a forwarded socket


def _wait_end(context: Context, watched: int, timeout_s: int) -> None:
    if watched >= 0:
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        if poller.poll(timeout_s * 1000):
            return
        raise Failed(f"sampand was asked to stop, but still runs after {timeout_s} s")
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            connect(context.address).close()
        except OSError:
            return
        time.sleep(_RETRY_S)
    raise Failed(f"sampand was asked to stop, but still answers after {timeout_s} s")


def info(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Show facts about the machine and the daemon."""
    document = context.session().call("GET", "/info")
    assert isinstance(document, dict)
    if flags.text("format"):
        print(_formatted(document, flags.text("format")))
        return 0
    from sampan.cli.info_text import info_lines

    for line in info_lines(document):
        print(line)
    return 0


def version(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Show the versions of this command and of the daemon."""
    from sampan import __version__

    machine = os.uname()
    client: dict[str, Value] = {
        "Version": __version__,
        "ApiVersion": API_VERSION,
        "DefaultAPIVersion": API_VERSION,
        "Os": machine.sysname.lower(),
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine, machine.machine),
        "Context": "default",
    }
    server, failure = None, None  # type: JsonValue, SampanError | None
    try:
        session = context.session()
        server = session.call("GET", "/version")
        client["ApiVersion"] = session.version
    except SampanError as exc:
        failure = exc
    if flags.text("format"):
        print(_formatted({"Client": client, "Server": server}, flags.text("format")))
    else:
        from sampan.cli.info_text import version_lines

        for line in version_lines(client, server if isinstance(server, dict) else None):
            print(line)
    if failure is not None:
        raise failure
    return 0


def _formatted(document: Value, form: str) -> str:
    if form == "json":
        return compact_json(document)
    from sampan.cli.template import Template

    return Template(form).render(document)
