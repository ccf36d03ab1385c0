"""`sampan exec`. Lean (decision 0002)."""

from __future__ import annotations

from sampan import fastjson
from sampan.cli import values
from sampan.cli.detach_keys import parse_detach_keys
from sampan.cli.interactive import (
    Target,
    Wishes,
    check_terminal,
    exit_code,
    follow,
    is_missing_endpoint,
    terminal_size,
)
from sampan.cli.outcome import Failed
from sampan.client.http import Disconnected, quote
from sampan.errors import NotFound
from sampan.lean import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.cli.relay import Ended
    from sampan.client.session import Session

    Body = dict[str, fastjson.JsonValue]

_LOST = 255  # docker's code when the daemon goes away during an exec


def execute(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Run a command in a running container; return its exit code."""
    container, detached = arguments[0], flags.truth("detach")
    wishes = _wishes(flags, detached=detached)
    if not detached:
        check_terminal(tty=wishes.tty, stdin=wishes.stdin)
    body = _exec_body(flags, arguments[1:], wishes)
    session = context.session()
    try:
        if detached:
            return _run_detached(session, container, body)
        return exit_code(_run_session(context, session, container, body, wishes))
    except NotFound as exc:
        if not is_missing_endpoint(exc):
            raise
        return _run_as_docker(context, session, container, body, wishes)


def _wishes(flags: Flags, *, detached: bool) -> Wishes:
    tty = flags.truth("tty")
    return Wishes(
        tty=tty,
        stdin=flags.truth("interactive") and not detached,
        stdout=not detached,
        stderr=not detached,
        keys=parse_detach_keys(flags.text("detach-keys")),
        keys_text=flags.text("detach-keys"),
        sig_proxy=False,
        size=terminal_size(tty=tty and not detached),
    )


def _exec_body(flags: Flags, command: list[str], wishes: Wishes) -> Body:
    body: Body = {
        "AttachStdin": wishes.stdin,
        "AttachStdout": wishes.stdout,
        "AttachStderr": wishes.stderr,
        "Tty": wishes.tty,
        "Cmd": list(command),
    }
    if wishes.size is not None:
        body["ConsoleSize"] = list(wishes.size)
    if wishes.keys_text:
        body["DetachKeys"] = wishes.keys_text
    if flags.truth("privileged"):
        body["Privileged"] = True
    for name, field in (("user", "User"), ("workdir", "WorkingDir")):
        if flags.text(name):
            body[field] = flags.text(name)
    if flags.given("env") or flags.given("env-file"):
        body["Env"] = list(values.environment(flags.items("env-file"), flags.items("env")))
    return body


def _run_session(context: Context, session: Session, container: str, body: Body, wishes: Wishes) -> Ended:
    query = [("detachKeys", wishes.keys_text)] if wishes.keys_text else []
    stream = session.hijack("POST", f"/sampan/v1/containers/{quote(container)}/exec", query, body=body)
    target = Target(context, "exec")
    ended = follow(stream, target, wishes, framed=True, on_created=target.created)
    if ended.reason == "eof":
        raise Failed("the daemon went away; the command goes on in its container", code=_LOST)
    return ended


def _run_detached(session: Session, container: str, body: Body) -> int:
    try:
        session.call("POST", f"/sampan/v1/containers/{quote(container)}/exec", [("detach", "1")], body=body)
    except NotFound as exc:
        if not is_missing_endpoint(exc):
            raise
        exec_id = _create_exec(session, container, body)
        session.call("POST", f"/exec/{exec_id}/start", body={"Detach": True, "Tty": False})
    return 0


def _create_exec(session: Session, container: str, body: Body) -> str:
    document = session.call("POST", f"/containers/{quote(container)}/exec", body=body)
    assert isinstance(document, dict)
    return quote(str(document["Id"]))


def _run_as_docker(context: Context, session: Session, container: str, body: Body, wishes: Wishes) -> int:
    exec_id = _create_exec(session, container, body)
    start: Body = {"Detach": False, "Tty": wishes.tty}
    if wishes.size is not None:
        start["ConsoleSize"] = list(wishes.size)
    try:
        stream = session.hijack("POST", f"/exec/{exec_id}/start", body=start)
    except Disconnected as exc:
        raise Failed(str(exc), hint=exc.hint, code=_LOST) from exc
    # Below API 1.42 the size in the request is not heeded, so it is told again.
    told_again = replace(wishes, size=None)
    ended = follow(stream, Target(context, "exec", exec_id), told_again, framed=not wishes.tty)
    if ended.reason != "eof":
        return ended.code
    document = session.call("GET", f"/exec/{exec_id}/json")
    code = document.get("ExitCode") if isinstance(document, dict) else None
    return code if isinstance(code, int) else 0
