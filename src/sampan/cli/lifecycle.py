"""Commands that change the state of containers, one after the other: stop, kill, rm, pause, wait, …  Lean."""

from __future__ import annotations

from sampan.cli.interactive import is_missing_endpoint, wait_for
from sampan.cli.outcome import complain, report
from sampan.client.http import quote
from sampan.errors import NotFound, NotModified, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.context import Context
    from sampan.cli.flags import Flags
    from sampan.client.session import Session


def for_each(context: Context, names: list[str], step: Callable[[Session, str], str | None]) -> int:
    """Do one step for each name and print its result, by default the name; 1 if one failed.

    The names after one that failed are still done, as docker does it.
    """
    session, code = context.session(), 0
    for name in names:
        try:
            result = step(session, name)
        except NotModified:
            result = name  # it is as wanted already
        except SampanError as exc:
            report(exc)
            code = 1
            continue
        if result is not None:
            print(result, flush=True)
    return code


def _post(verb: str, query: list[tuple[str, str]]) -> Callable[[Session, str], str]:
    def step(session: Session, name: str) -> str:
        session.call("POST", f"/containers/{quote(name)}/{verb}", query)
        return name

    return step


def _stop_query(flags: Flags) -> list[tuple[str, str]]:
    query = [("signal", flags.text("signal"))] if flags.given("signal") else []
    for name in ("timeout", "time"):
        if flags.given(name):
            return [*query, ("t", str(flags.number(name)))]
    return query


def stop(context: Context, flags: Flags, names: list[str]) -> int:
    """Ask containers to end, and say why one had to be killed.

    Docker's daemon knows only the plain stop, and nothing of --now-if-unhandled.
    """
    query = _stop_query(flags)
    own_query = [*query, ("nowIfUnhandled", "1")] if flags.truth("now-if-unhandled") else query

    def step(session: Session, name: str) -> str:
        try:
            answer = session.call("POST", f"/sampan/v1/containers/{quote(name)}/stop", own_query)
        except NotFound as exc:
            if not is_missing_endpoint(exc):
                raise
            session.call("POST", f"/containers/{quote(name)}/stop", query)
            return name
        if isinstance(answer, dict) and answer.get("Reason"):
            complain(f"{name}: killed: {answer['Reason']}")
            if "has no handler" in str(answer["Reason"]):
                or_so = "" if own_query != query else ", or stop it with --now-if-unhandled"
                complain(f"hint: run it with --init{or_so}")
        return name

    return for_each(context, names, step)


def restart(context: Context, flags: Flags, names: list[str]) -> int:
    """Stop and start containers."""
    return for_each(context, names, _post("restart", _stop_query(flags)))


def kill(context: Context, flags: Flags, names: list[str]) -> int:
    """Send a signal to containers."""
    return for_each(context, names, _post("kill", [("signal", flags.text("signal", "KILL"))]))


def pause(context: Context, _flags: Flags, names: list[str]) -> int:
    """Freeze containers."""
    return for_each(context, names, _post("pause", []))


def unpause(context: Context, _flags: Flags, names: list[str]) -> int:
    """Let frozen containers go on."""
    return for_each(context, names, _post("unpause", []))


def remove(context: Context, flags: Flags, names: list[str]) -> int:
    """Remove containers; with --force a missing one is no error."""
    wanted = (("v", "volumes"), ("force", "force"), ("link", "link"))
    query = [(key, "1") for key, name in wanted if flags.truth(name)]

    def step(session: Session, name: str) -> str | None:
        try:
            session.call("DELETE", f"/containers/{quote(name.strip('/'))}", query)
        except NotFound:
            if not flags.truth("force"):
                raise
            return None
        return name

    return for_each(context, names, step)


def wait(context: Context, flags: Flags, names: list[str]) -> int:
    """Wait for containers and print their exit codes."""
    condition = flags.text("condition")
    return for_each(context, names, lambda session, name: str(wait_for(session, name, condition)))


def rename(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Give a container another name."""
    query = [("name", arguments[1])]
    context.session().call("POST", f"/containers/{quote(arguments[0])}/rename", query)
    return 0
