"""`sampan run` and `sampan create`. Lean (decision 0002).

sampand takes the whole run as one exchange (docs/api.md, sessions); with another daemon it is Docker's
sequence: create, attach, wait, start.
"""

from __future__ import annotations

import os

from sampan import fastjson
from sampan.cli.create_body import attached, create_body
from sampan.cli.interactive import (
    Target,
    Wishes,
    could_not_run,
    exit_code,
    follow,
    is_missing_endpoint,
    parse_wait,
    show_warnings,
    wait_for,
)
from sampan.cli.outcome import Failed, UsageError
from sampan.cli.terminal import check_terminal, parse_detach_keys, window_size
from sampan.client.http import quote
from sampan.errors import Conflict, NotFound, SampanError
from sampan.lean import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.context import Context
    from sampan.cli.create_body import Body
    from sampan.cli.flags import Flags
    from sampan.cli.relay import Ended
    from sampan.client.session import Session


def run(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Run a container; return its exit code, or 0 when it is left running."""
    body = create_body(flags, arguments)
    stdin, stdout, stderr = attached(flags)
    tty, detached = flags.truth("tty"), flags.truth("detach")
    if not detached:
        check_terminal(tty=tty, stdin=stdin)
    wishes = Wishes(
        tty=tty,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        keys=parse_detach_keys(flags.text("detach-keys")),
        keys_text=flags.text("detach-keys"),
        sig_proxy=flags.truth("sig-proxy", True),
        size=_console_size(body, tty=tty),
    )
    id_file = IdFile(flags.text("cidfile"))
    session = context.session()
    try:
        if detached:
            return _run_detached(session, flags, body, id_file)
        return _run_attached(context, session, flags, body, wishes, id_file)
    except Failed:
        raise
    except SampanError as exc:
        raise could_not_run(_with_image_hint(exc, arguments[0])) from exc


def create(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a container and print its id."""
    body = create_body(flags, arguments)
    _console_size(body, tty=flags.truth("tty"))
    id_file = IdFile(flags.text("cidfile"))
    try:
        print(create_container(context.session(), flags, body, id_file))
    except (NotFound, Conflict) as exc:
        raise _with_image_hint(exc, arguments[0]) from exc
    return 0


class IdFile:
    """The file of `--cidfile`: must not exist, is written once the container does."""

    def __init__(self, path: str) -> None:
        self._path = path
        if path and os.path.lexists(path):
            raise UsageError(
                f"--cidfile: {path!r} exists", hint="remove it if its container is not needed any more"
            )

    def write(self, container: str) -> None:
        """Write the id, unless no file is wanted."""
        if not self._path:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as exc:
            raise Failed(f"--cidfile: cannot write {self._path!r}: {exc.strerror}", code=125) from exc
        with open(fd, "w", encoding="ascii") as file:
            file.write(container)


def create_container(session: Session, flags: Flags, body: Body, id_file: IdFile) -> str:
    """Make the container by Docker's call, pulling its image if it is missing; return its id."""
    policy = _pull_policy(flags)
    query = _create_query(flags)
    if policy == "always":
        _pull(session, flags, body)
    try:
        document = session.call("POST", "/containers/create", query, body=body)  # type: ignore[arg-type]  # plain JSON values
    except NotFound as exc:
        if policy != "missing" or "No such image" not in str(exc):
            raise
        _pull(session, flags, body, missing=exc)
        document = session.call("POST", "/containers/create", query, body=body)  # type: ignore[arg-type]  # plain JSON values
    assert isinstance(document, dict)
    show_warnings(document)
    container = str(document["Id"])
    id_file.write(container)
    return container


def _run_attached(
    context: Context, session: Session, flags: Flags, body: Body, wishes: Wishes, id_file: IdFile
) -> int:
    target = Target(context, "containers")
    try:
        if _pull_policy(flags) == "always":
            _pull(session, flags, body)
        ended = _run_session(session, flags, body, wishes, target, id_file)
    except NotFound as exc:
        if not is_missing_endpoint(exc) and "No such image" not in str(exc):
            raise
        return _run_as_docker(context, session, flags, body, wishes, id_file)
    if ended.reason == "eof":
        return _code_after_loss(context, flags, target)
    return exit_code(ended)


def _run_session(
    session: Session, flags: Flags, body: Body, wishes: Wishes, target: Target, id_file: IdFile
) -> Ended:
    stream = session.hijack("POST", "/sampan/v1/run", [*_create_query(flags), *wishes.query()], body=body)  # type: ignore[arg-type]  # plain JSON values

    def created(document: dict[str, fastjson.JsonValue]) -> None:
        target.created(document)
        id_file.write(target.id)

    return follow(stream, target, wishes, framed=True, on_created=created)


def _code_after_loss(context: Context, flags: Flags, target: Target) -> int:
    """Return the exit code although sampand died meanwhile: the container outlives it."""
    condition = "removed" if flags.truth("rm") else "not-running"
    if not target.id:
        raise Failed("the daemon went away before the container was made", code=125)
    try:
        return wait_for(context.session(), target.id, condition)
    except SampanError as exc:
        raise Failed(
            f"the daemon went away; how container {target.id[:12]} ended is not known: {exc}", code=125
        ) from exc


def _run_as_docker(
    context: Context, session: Session, flags: Flags, body: Body, wishes: Wishes, id_file: IdFile
) -> int:
    container = create_container(session, flags, body, id_file)
    path = f"/containers/{quote(container)}"
    target = Target(context, "containers", container)
    chosen = (("stdin", wishes.stdin), ("stdout", wishes.stdout), ("stderr", wishes.stderr))
    query = [("stream", "1"), *((name, "1") for name, wanted in chosen if wanted)]
    stream = session.hijack("POST", f"{path}/attach", query)
    # The wait is opened before the start, so that no exit is missed; its head comes at once (API since 1.30).
    condition = "removed" if flags.truth("rm") else "next-exit"
    waiting = session.open("POST", f"{path}/wait", [("condition", condition)])
    try:
        session.call("POST", f"{path}/start")
    except SampanError:
        stream.sock.close()
        if flags.truth("rm"):
            waiting.read_all()  # the daemon removes it: nothing is left when we say why
        raise
    # Below API 1.42 the size in the request is not heeded, so it is told again.
    ended = follow(stream, target, replace(wishes, size=None), framed=not wishes.tty)
    if ended.reason == "eof":
        if ended.error:
            raise Failed(ended.error, code=125)
        return parse_wait(fastjson.loads(waiting.read_all()))
    return ended.code


def _run_detached(session: Session, flags: Flags, body: Body, id_file: IdFile) -> int:
    try:
        if _pull_policy(flags) == "always":
            _pull(session, flags, body)
        query = [("detach", "1"), *_create_query(flags)]
        document = session.call("POST", "/sampan/v1/run", query, body=body)  # type: ignore[arg-type]  # plain JSON values
    except NotFound as exc:
        if not is_missing_endpoint(exc) and "No such image" not in str(exc):
            raise
        container = create_container(session, flags, body, id_file)
        session.call("POST", f"/containers/{quote(container)}/start")
    else:
        assert isinstance(document, dict)
        show_warnings(document)
        container = str(document["Id"])
        id_file.write(container)
    print(container)
    return 0


def _create_query(flags: Flags) -> list[tuple[str, str]]:
    return [(name, flags.text(name)) for name in ("name", "platform") if flags.text(name)]


def _console_size(body: Body, *, tty: bool) -> tuple[int, int] | None:
    """Give the request our window size, so that the program finds it right from its start."""
    size = window_size() if tty else None
    host = body["HostConfig"]
    if size is not None and isinstance(host, dict):
        host["ConsoleSize"] = list(size)
    return size


def _pull_policy(flags: Flags) -> str:
    policy = flags.text("pull", "missing")
    if policy not in ("always", "missing", "never"):
        raise UsageError(f"--pull: {policy!r} is not always, missing or never")
    return policy


def _pull(session: Session, flags: Flags, body: Body, *, missing: NotFound | None = None) -> None:
    """Fetch the image; a daemon that cannot pull yet leaves the error that made us try."""
    from sampan.cli.pull import pull_image

    pull_image(
        session,
        str(body["Image"]),
        platform=flags.text("platform"),
        quiet=flags.truth("quiet"),
        missing=missing,
    )


def _with_image_hint(error: SampanError, image: str) -> SampanError:
    if error.hint or "No such image" not in str(error):
        return error
    base = image.removeprefix("docker.io/").removeprefix("library/").partition(":")[0]
    if base in ("busybox", "debian", "hello"):
        hint = f"make it with: sampan image bootstrap {base}"
    else:
        hint = "see what there is: sampan images; bring it here: sampan load -i ARCHIVE"
    return type(error)(str(error), hint=hint)
