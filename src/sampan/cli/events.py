"""`sampan events`. Lean."""

from __future__ import annotations

import sys
import time

from sampan.cli.listing import encode_filters
from sampan.cli.moments import parse_moment
from sampan.cli.outcome import UsageError
from sampan.cli.progress import read_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.fastjson import JsonValue

_BAD_TEMPLATE = 64  # docker's code for a wrong --format here


def events(context: Context, flags: Flags, _arguments: list[str]) -> int:
    """Show events until interrupted, or up to --until."""
    show = _formatter(flags.text("format"))
    query = [
        (name, parse_moment(f"--{name}", flags.text(name))) for name in ("since", "until") if flags.text(name)
    ]
    if flags.given("filter"):
        query.append(("filters", encode_filters(flags.items("filter"))))
    response = context.session().open("GET", "/events", query)
    for event in read_documents(response):
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()
    return 0


def _formatter(form: str) -> Callable[[dict[str, JsonValue]], str]:
    if not form:
        return _line
    if form == "json":
        from sampan.cli.pretty import compact_json

        return compact_json
    from sampan.cli.template import Template
    from sampan.cli.template_parse import TemplateError

    try:
        return Template(form).render
    except TemplateError as exc:
        raise UsageError(f"--format: {exc}", code=_BAD_TEMPLATE) from exc


def _line(event: dict[str, JsonValue]) -> str:
    """Return `time type action id (key=value, …)`, with nanoseconds, in local time."""
    nano = event.get("timeNano")
    moment = nano if isinstance(nano, int) else 0
    local = time.localtime(moment // 1_000_000_000)
    zone = time.strftime("%z", local)
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{moment % 1_000_000_000:09d}{zone[:3]}:{zone[3:]}"
    actor = event.get("Actor")
    attributes = actor.get("Attributes") if isinstance(actor, dict) else None
    shown = (
        ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes))
        if isinstance(attributes, dict)
        else ""
    )
    actor_id = actor.get("ID") if isinstance(actor, dict) else ""
    line = f"{stamp} {event.get('Type')} {event.get('Action')} {actor_id}"
    return f"{line} ({shown})" if shown else line
