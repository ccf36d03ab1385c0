"""`sampan logs`. Lean (decision 0002)."""

from __future__ import annotations

from sampan.cli.outcome import UsageError
from sampan.cli.relay import write_all
from sampan.client.frames import STDERR, STDOUT, Frames
from sampan.client.http import quote
from sampan.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.http import Response

_OWN = "/sampan/v1"
_RAW = "application/vnd.docker.raw-stream"


def logs(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Show what a container has written, its errors on standard error; or forget it."""
    from sampan.cli.moments import parse_moment

    if flags.truth("clear"):
        context.session().call("DELETE", f"{_OWN}/containers/{quote(arguments[0])}/logs")
        return 0
    query = [("stdout", "1"), ("stderr", "1"), ("tail", _tail(flags.text("tail", "all")))]
    query += [(name, "1") for name in ("follow", "timestamps", "details") if flags.truth(name)]
    query += [
        (name, parse_moment(f"--{name}", flags.text(name))) for name in ("since", "until") if flags.text(name)
    ]
    response = _open(context, f"/containers/{quote(arguments[0])}/logs", query)
    framed = response.headers.get("content-type", "") != _RAW
    if not response.headers.get("content-type", "").startswith("application/vnd.docker."):
        # A daemon below API 1.42 does not say which of the two it sends.
        framed = not _has_terminal(context, arguments[0])
    frames = Frames()
    while piece := response.read_some():
        if not framed:
            write_all(STDOUT, piece)
            continue
        _write(frames.feed(piece))
    return 0


def _write(pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write pieces in their order; those of one stream in a row at once: each line is a frame of its own."""
    last, waiting = STDOUT, b""
    for kind, data in pieces:
        stream = STDERR if kind == STDERR else STDOUT
        if stream != last:
            write_all(last, waiting)
            last, waiting = stream, b""
        waiting += data
    write_all(last, waiting)


def _open(context: Context, path: str, query: list[tuple[str, str]]) -> Response:
    """Ask sampand, which keeps long lines whole; another daemon does not know that address."""
    try:
        return context.session().open("GET", f"{_OWN}{path}", query)
    except NotFound as exc:
        if "page not found" not in str(exc):
            raise
    return context.session().open("GET", path, query)


def _tail(text: str) -> str:
    if text != "all" and not text.lstrip("-").isdigit():
        raise UsageError(f"-n, --tail: {text!r} is neither a number nor all", code=1)
    return text


def _has_terminal(context: Context, name: str) -> bool:
    document = context.session().call("GET", f"/containers/{quote(name)}/json")
    config = document.get("Config") if isinstance(document, dict) else None
    return bool(config.get("Tty")) if isinstance(config, dict) else False
