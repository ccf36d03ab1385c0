"""`sampan builder debug` and `sampan build --debug`: a shell in what a failed step has left. Lean."""

from __future__ import annotations

import os

from sampan.cli.build_rows import show_kept
from sampan.cli.commands import find_command, load
from sampan.cli.flags import parse_flags
from sampan.cli.outcome import Failed, complain, report
from sampan.client.http import quote
from sampan.errors import Conflict, NotFound, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags

_HEX = frozenset(b"0123456789abcdef")  # what an id is made of; the rest may mean another path
_PATH = "/sampan/v1/build/failed"
_HEADINGS = {"Id": "ID", "CreatedAt": "CREATED", "ExitCode": "EXIT CODE", "Size": "SIZE", "Line": "STEP"}


def debug(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Run a shell, or a command, in a failed step's files; without an id list what is kept."""
    if not arguments:
        return show_kept(context, flags, _PATH, _HEADINGS)
    return _open(context, arguments[0], arguments[1:])


def after_failure(context: Context, error: Failed, step_id: str, *, opens: bool) -> int:
    """Tell of a build's failure and of what is kept of it; opens: a shell in that. Return its code."""
    if not opens:
        error.hint = error.hint or f"look at what the step has left: sampan builder debug {step_id}"
        raise error
    report(error)
    try:
        _open(context, step_id, [])
    except SampanError as exc:
        report(exc)
    return error.code


def _open(context: Context, step_id: str, command: list[str]) -> int:
    session = context.session()
    found = session.call("POST", f"{_PATH}/{quote(step_id, safe=_HEX)}/image")
    assert isinstance(found, dict)  # the daemon's answer
    image, failed = str(found["Image"]), found.get("Command")
    shown = " ".join(str(word) for word in failed) if isinstance(failed, list) else ""
    complain(f"the step's command was: {shown}")
    options = ["--rm", "-it" if os.isatty(0) and os.isatty(1) else "-i"]
    if found.get("Network"):
        options += ["--network", str(found["Network"])]
    try:
        return _run(context, [*options, image, *command])
    finally:
        _remove(context, image)


def _run(context: Context, arguments: list[str]) -> int:
    """Do `sampan run`."""
    row = find_command(["run"])
    assert row is not None  # it is in the table
    own, _ = row
    flags, rest = parse_flags(own.flag_groups(), arguments, interspersed=own.interspersed)
    handler: Callable[[Context, Flags, list[str]], int] = load(own.handler)  # type: ignore[assignment]
    return handler(context, flags, rest)


def _remove(context: Context, image: str) -> None:
    try:
        context.session().call("DELETE", f"/images/{quote(image)}")
    except (NotFound, Conflict):
        pass  # somebody else looks at the same step
