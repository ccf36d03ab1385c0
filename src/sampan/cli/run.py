"""`sampan run` and `sampan create`. Lean (decision 0002).

sampand takes the whole run as one exchange (docs/api.md, sessions); with another daemon it is Docker's
sequence: create, attach, wait, start.
"""

from __future__ import annotations

import posix

from sampan import fastjson
from sampan.cli.create_body import attached, create_body
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
    show_warnings,
    terminal_size,
    wait_for,
)
from sampan.cli.outcome import Failed, UsageError
from sampan.client.http import quote
from sampan.errors import Conflict, NotFound, SampanError
from sampan.lean import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.context import Context
    from sampan.cli.create_body import Body
    from sampan.cli.flags import Flags
    from sampan.client.session import Session


def run(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Run a container; return its exit code, or 0 when it is left running."""
    body = create_body(flags, arguments)
    id_file = IdFile(flags.text("cidfile"))
    if not flags.truth("detach"):
        if flags.truth("show-ports"):
            raise UsageError("--show-ports needs --detach", hint="use `sampan port` for one that is attached")
        return run_attached(context, flags, arguments, body, id_file)
    _console_size(body, tty=flags.truth("tty"))
    try:
        return _run_detached(context.session(), flags, body, id_file)
    except Failed:
        raise
    except SampanError as exc:
        raise could_not_run(_with_image_hint(exc, arguments[0])) from exc


def run_attached(
    context: Context,
    flags: Flags,
    arguments: list[str],
    body: Body,
    id_file: IdFile,
    on_created: Callable[[str], None] | None = None,
) -> int:
    """Run the container of body with our terminal attached, and return its exit code.

    on_created is given the id as soon as there is one.

    Raises:
        Failed: it could not be run; the code says why (125, 126, 127).
    """
    stdin, stdout, stderr = attached(flags)
    check_terminal(tty=flags.truth("tty"), stdin=stdin)
    wishes = Wishes(
        tty=flags.truth("tty"),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        keys=parse_detach_keys(flags.text("detach-keys")),
        keys_text=flags.text("detach-keys"),
        sig_proxy=flags.truth("sig-proxy", True),
        size=_console_size(body, tty=flags.truth("tty")),
    )
    removed = isinstance(host := body["HostConfig"], dict) and bool(host.get("AutoRemove"))
    plan = _Plan(flags, body, wishes, id_file, removed=removed, on_created=on_created)
    try:
        return _run(context, context.session(), plan)
    except Failed:
        raise
    except SampanError as exc:
        shown = _with_image_hint(exc, arguments[0])
        raise Failed(str(shown), hint=shown.hint, code=125) from exc


def create(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a container and print its id."""
    body = create_body(flags, arguments)
    _console_size(body, tty=flags.truth("tty"))
    id_file = IdFile(flags.text("cidfile"))
    try:
        container = create_container(context.session(), flags, body)
    except (NotFound, Conflict) as exc:
        raise _with_image_hint(exc, arguments[0]) from exc
    id_file.write(container)
    print(container)
    return 0


class IdFile:
    """The file of `--cidfile`: must not exist, is written once the container does."""

    def __init__(self, path: str) -> None:
        self._path = path
        if path and _exists(path):
            raise UsageError(
                f"--cidfile: {path!r} exists", hint="remove it if its container is not needed any more"
            )

    def write(self, container: str) -> None:
        """Write the id, unless no file is wanted."""
        if not self._path:
            return
        try:
            fd = posix.open(
                self._path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666
            )
        except OSError as exc:
            raise Failed(f"--cidfile: cannot write {self._path!r}: {exc.strerror}", code=125) from exc
        with open(fd, "w", encoding="ascii") as file:
            file.write(container)


def _exists(path: str) -> bool:
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True


def create_container(session: Session, flags: Flags, body: Body) -> str:
    """Make the container by Docker's call, pulling its image if it is missing; return its id."""
    policy = _pull_policy(flags)
    query = _create_query(flags)
    if policy == "always":
        _pull(session, flags, body)
    try:
        document = session.call("POST", "/containers/create", query, body=body)  # type: ignore[arg-type]  # JSON values
    except NotFound as exc:
        if policy != "missing" or "No such image" not in str(exc):
            raise
        _pull(session, flags, body, missing=exc)
        document = session.call("POST", "/containers/create", query, body=body)  # type: ignore[arg-type]  # JSON values
    assert isinstance(document, dict)
    show_warnings(document)
    return str(document["Id"])


class _Plan:
    """One attached run: what is asked for, and who wants to know the id."""

    def __init__(
        self,
        flags: Flags,
        body: Body,
        wishes: Wishes,
        id_file: IdFile,
        *,
        removed: bool,
        on_created: Callable[[str], None] | None,
    ) -> None:
        self.flags = flags
        self.body = body
        self.wishes = wishes
        self.removed = removed
        self._id_file = id_file
        self._on_created = on_created

    def created(self, container: str) -> None:
        """Tell of the new container."""
        self._id_file.write(container)
        if self._on_created is not None:
            self._on_created(container)


def _run(context: Context, session: Session, plan: _Plan) -> int:
    target = Target(context, "containers")

    def created(document: dict[str, fastjson.JsonValue]) -> None:
        target.created(document)
        plan.created(target.id)

    try:
        if _pull_policy(plan.flags) == "always":
            _pull(session, plan.flags, plan.body)
        query = [*_create_query(plan.flags), *plan.wishes.query()]
        stream = session.hijack("POST", "/sampan/v1/run", query, body=plan.body)  # type: ignore[arg-type]  # JSON values
    except NotFound as exc:
        if not is_missing_endpoint(exc) and "No such image" not in str(exc):
            raise
        return _run_as_docker(context, session, plan)
    ended = follow(stream, target, plan.wishes, framed=True, on_created=created)
    if ended.reason == "eof":
        return _code_after_loss(context, plan, target)
    return exit_code(ended)


def _code_after_loss(context: Context, plan: _Plan, target: Target) -> int:
    """Return the exit code although sampand died meanwhile: the container outlives it."""
    if not target.id:
        raise Failed("the daemon went away before the container was made", code=125)
    try:
        return wait_for(context.session(), target.id, "removed" if plan.removed else "not-running")
    except SampanError as exc:
        lost = f"the daemon went away; how container {target.id[:12]} ended is not known: {exc}"
        raise Failed(lost, code=125) from exc


def _run_as_docker(context: Context, session: Session, plan: _Plan) -> int:
    container = create_container(session, plan.flags, plan.body)
    plan.created(container)
    wishes = plan.wishes
    path = f"/containers/{quote(container)}"
    chosen = (("stdin", wishes.stdin), ("stdout", wishes.stdout), ("stderr", wishes.stderr))
    query = [("stream", "1"), *((name, "1") for name, wanted in chosen if wanted)]
    stream = session.hijack("POST", f"{path}/attach", query)
    # The wait is opened before the start, so that no exit is missed; its head comes at once (API since 1.30).
    waiting = session.open(
        "POST", f"{path}/wait", [("condition", "removed" if plan.removed else "next-exit")]
    )
    try:
        session.call("POST", f"{path}/start")
    except SampanError as exc:
        stream.sock.close()
        if plan.removed:
            waiting.read_all()  # the daemon removes it: nothing is left when we say why
        raise could_not_run(exc) from exc
    # Below API 1.42 the size in the request is not heeded, so it is told again.
    told_again = replace(wishes, size=None)
    ended = follow(stream, Target(context, "containers", container), told_again, framed=not wishes.tty)
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
        container = create_container(session, flags, body)
        id_file.write(container)
        session.call("POST", f"/containers/{quote(container)}/start")
    else:
        assert isinstance(document, dict)
        show_warnings(document)
        container = str(document["Id"])
        id_file.write(container)
    print(container)
    if flags.truth("show-ports"):
        from sampan.cli.look import show_ports

        show_ports(session, container)
    return 0


def _create_query(flags: Flags) -> list[tuple[str, str]]:
    return [(name, flags.text(name)) for name in ("name", "platform") if flags.text(name)]


def _console_size(body: Body, *, tty: bool) -> tuple[int, int] | None:
    """Give the request our window size, so that the program finds it right from its start."""
    size = terminal_size(tty=tty)
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
