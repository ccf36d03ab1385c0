"""`sampan attach` and `sampan start`, with and without attaching. Lean (decision 0002)."""

from __future__ import annotations

from sampan import fastjson
from sampan.cli.detach_keys import parse_detach_keys
from sampan.cli.interactive import (
    Target,
    Wishes,
    check_terminal,
    could_not_run,
    exit_code,
    follow,
    is_missing_endpoint,
    parse_wait,
    wait_for,
)
from sampan.cli.outcome import Failed, UsageError, report
from sampan.client.http import quote
from sampan.errors import Conflict, NotFound, NotModified, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue


def attach(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Connect our terminal to a running container; return its exit code."""
    session = context.session()
    document = _inspect(session, arguments[0])
    state = _part(document, "State")
    if state.get("Paused"):
        raise Conflict(f"container {arguments[0]} is paused", hint=f"sampan unpause {arguments[0]}")
    if not state.get("Running"):
        raise Conflict(
            "cannot attach to a stopped container", hint=f"start it first: sampan start -ai {arguments[0]}"
        )
    config = _part(document, "Config")
    stdin = bool(config.get("OpenStdin")) and not flags.truth("no-stdin")
    wishes = _wishes(flags, tty=bool(config.get("Tty")), stdin=stdin, proxy_with_tty=False)
    check_terminal(tty=wishes.tty, stdin=wishes.stdin)
    return _attach(
        context, session, str(document["Id"]), wishes, start=False, removed=_removes_itself(document)
    )


def start(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Start containers and print their names; attached to one, return its exit code."""
    if not flags.truth("attach") and not flags.truth("interactive"):
        return _start_each(context, arguments)
    if len(arguments) > 1:
        raise UsageError("start --attach and --interactive take one container", code=1)
    session = context.session()
    document = _inspect(session, arguments[0])
    config = _part(document, "Config")
    stdin = flags.truth("interactive") and bool(config.get("OpenStdin"))
    wishes = _wishes(flags, tty=bool(config.get("Tty")), stdin=stdin, proxy_with_tty=True)
    check_terminal(tty=wishes.tty, stdin=wishes.stdin)
    return _attach(
        context, session, str(document["Id"]), wishes, start=True, removed=_removes_itself(document)
    )


def _start_each(context: Context, names: list[str]) -> int:
    session, code = context.session(), 0
    for name in names:
        try:
            session.call("POST", f"/containers/{quote(name)}/start")
        except NotModified:
            pass  # it runs already
        except SampanError as exc:
            report(exc)
            code = 1
            continue
        print(name)
    return code


def _attach(
    context: Context, session: Session, container: str, wishes: Wishes, *, start: bool, removed: bool
) -> int:
    verb = "start" if start else "attach"
    try:
        stream = session.hijack("POST", f"/sampan/v1/containers/{container}/{verb}", wishes.query())
    except NotFound as exc:
        if not is_missing_endpoint(exc):
            raise
        return _attach_as_docker(context, session, container, wishes, start=start, removed=removed)
    target = Target(context, "containers", container)
    ended = follow(stream, target, wishes, framed=True, on_created=target.created)
    if ended.reason == "eof":
        return wait_for(context.session(), container, "removed" if removed else "not-running")
    return exit_code(ended)


def _attach_as_docker(
    context: Context, session: Session, container: str, wishes: Wishes, *, start: bool, removed: bool
) -> int:
    chosen = (("stdin", wishes.stdin), ("stdout", wishes.stdout), ("stderr", wishes.stderr))
    query = [("stream", "1"), *((name, "1") for name, wanted in chosen if wanted)]
    # Waited for before anything can end: a container that ends at once is not missed.
    condition = "removed" if removed else "next-exit" if start else "not-running"
    waiting = session.open("POST", f"/containers/{container}/wait", [("condition", condition)])
    stream = session.hijack("POST", f"/containers/{container}/attach", query)
    if start:
        try:
            session.call("POST", f"/containers/{container}/start")
        except NotModified:
            pass
        except SampanError as exc:
            stream.sock.close()
            raise could_not_run(exc) from exc
    ended = follow(stream, Target(context, "containers", container), wishes, framed=not wishes.tty)
    if ended.error:
        raise Failed(ended.error)
    return parse_wait(fastjson.loads(waiting.read_all())) if ended.reason == "eof" else ended.code


def _wishes(flags: Flags, *, tty: bool, stdin: bool, proxy_with_tty: bool) -> Wishes:
    return Wishes(
        tty=tty,
        stdin=stdin,
        stdout=True,
        stderr=True,
        keys=parse_detach_keys(flags.text("detach-keys")),
        keys_text=flags.text("detach-keys"),
        sig_proxy=flags.truth("sig-proxy", True) and (proxy_with_tty or not tty),
    )


def _inspect(session: Session, name: str) -> dict[str, JsonValue]:
    document = session.call("GET", f"/containers/{quote(name)}/json")
    assert isinstance(document, dict)
    return document


def _part(document: dict[str, JsonValue], key: str) -> dict[str, JsonValue]:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _removes_itself(document: dict[str, JsonValue]) -> bool:
    return bool(_part(document, "HostConfig").get("AutoRemove"))
