"""`sampan explain run …` and `sampan inspect --anatomy`: what a container is made of, as a tree. Lean."""

from __future__ import annotations

from sampan.cli.create_body import create_body
from sampan.cli.outcome import Failed, UsageError, complain
from sampan.cli.pretty import pretty_json
from sampan.cli.run import IdFile, run_attached
from sampan.cli.tree import Branch, tree_lines, wants_colour
from sampan.client.http import quote
from sampan.errors import NotFound, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.session import Session
    from sampan.fastjson import JsonValue

_ANNOTATION = "org.sampan.explain"  # asks the runtime to note its steps (docs/engine.md)


def explain_run(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Run a container, then show what was done to start it; return the container's exit code."""
    from sampan.cli.explain_text import explain_tree

    form = _form(flags)
    body = create_body(flags, arguments)
    host = body["HostConfig"]
    assert isinstance(host, dict)
    removes = bool(host.pop("AutoRemove", False))  # by us, once the notes were read
    host["Annotations"] = {**host.get("Annotations", {}), _ANNOTATION: "1"}
    found: list[str] = []
    session = context.session()
    try:
        code = run_attached(context, flags, arguments, body, IdFile(flags.text("cidfile")), found.append)
        steps = _get(session, f"/sampan/v1/containers/{found[0]}/explain")
        _print(steps, form, lambda document: explain_tree(document, _name(session, found[0])))
    finally:
        if removes and found:
            _remove(session, found[0])
    return code


def show(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Print what a running container is made of, read back from the kernel."""
    from sampan.cli.anatomy_text import anatomy_tree

    form = _form(flags)
    document = _get(context.session(), f"/sampan/v1/containers/{quote(arguments[0])}/anatomy")
    _print(document, form, lambda found: anatomy_tree(found, arguments[0]))
    return 0


def _form(flags: Flags) -> str:
    form = flags.text("format") or "tree"
    if form not in ("tree", "json"):
        raise UsageError(f"--format: {form!r} is neither tree nor json")
    return form


def _get(session: Session, path: str) -> JsonValue:
    try:
        return session.call("GET", path)
    except NotFound as exc:
        if "page not found" not in str(exc):
            raise
        raise Failed("this daemon is not sampand: it cannot explain") from exc


def _print(document: JsonValue, form: str, tree: Callable[[JsonValue], Branch]) -> None:
    if form == "json":
        print(pretty_json(document))
    else:
        for line in tree_lines(tree(document), colour=wants_colour(1)):
            print(line)


def _name(session: Session, container: str) -> str:
    document = session.call("GET", f"/containers/{container}/json")
    return str(document.get("Name")).removeprefix("/") if isinstance(document, dict) else container[:12]


def _remove(session: Session, container: str) -> None:
    try:
        session.call("DELETE", f"/containers/{container}", [("force", "1"), ("v", "1")])
    except SampanError as exc:
        complain(f"warning: container {container[:12]} is left: {exc}")
