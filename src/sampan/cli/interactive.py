"""What `run`, `start -a`, `attach` and `exec` share: following a process to its end. Lean (decision 0002)."""

from __future__ import annotations

import posix

from sampan.cli.outcome import Failed, UsageError, complain
from sampan.cli.relay import PROXIED, Ended, Relay
from sampan.client.http import quote
from sampan.errors import NotFound, SampanError
from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.context import Context
    from sampan.client.session import Hijacked, Session
    from sampan.fastjson import JsonValue

_COULD_NOT_RUN = (  # docker's client reads the code from the daemon's words, and so must we with dockerd
    (
        ("executable file not found", "no such file or directory", "system cannot find the file specified"),
        127,
    ),
    (("permission denied", "is a directory"), 126),
)


@record
class Wishes:
    """How the user wants to be connected to the process."""

    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool
    keys: bytes  # detach sequence; empty: none
    keys_text: str  # as given, empty for the default
    sig_proxy: bool
    size: tuple[int, int] | None = None  # of the terminal, as the process was told

    @property
    def raw(self) -> bool:
        """Whether our own terminal has to pass every key on."""
        return self.tty and self.stdin

    def query(self) -> list[tuple[str, str]]:
        """Return the query of a session (docs/api.md)."""
        chosen = (("stdin", self.stdin), ("stdout", self.stdout), ("stderr", self.stderr))
        pairs = [(name, "1" if wanted else "0") for name, wanted in chosen]
        return [*pairs, ("detachKeys", self.keys_text)] if self.keys_text else pairs


class Target:
    """The container or exec at the other end; its id may become known only with the first frame."""

    def __init__(self, context: Context, kind: str, object_id: str = "") -> None:
        self.id = object_id
        self._context = context
        self._kind = kind  # "containers" or "exec"
        self._early: list[int] = []

    def created(self, document: dict[str, JsonValue]) -> None:
        """Take the first frame of a session: the id, and warnings for the user."""
        self.id = str(document.get("Id"))
        show_warnings(document)
        for number in self._early:
            self.signal(number)

    def signal(self, number: int) -> None:
        """Send a signal to the container; one that has ended meanwhile is no error."""
        if not self.id:
            self._early.append(number)
            return
        self._tell("kill", [("signal", str(number))])

    def resize(self, rows: int, columns: int) -> None:
        """Tell the process its new window size."""
        self._tell("resize", [("h", str(rows)), ("w", str(columns))])

    def _tell(self, verb: str, query: list[tuple[str, str]]) -> None:
        session = self._context.session()
        try:
            session.call("POST", f"/{self._kind}/{quote(self.id)}/{verb}", query)
        except (SampanError, OSError):
            pass  # the process ended first, or the stream itself will say what is wrong
        finally:
            session.close()


def follow(
    stream: Hijacked,
    target: Target,
    wishes: Wishes,
    *,
    framed: bool,
    on_created: Callable[[dict[str, JsonValue]], None] | None = None,
    proxied: tuple[int, ...] = PROXIED,
) -> Ended:
    """Copy between our stdio and the process until it ends, or the user leaves."""
    relay = Relay(
        stream,
        stdin=wishes.stdin,
        framed=framed,
        detach_keys=wishes.keys if wishes.raw else b"",
        raw=wishes.raw,
        size=wishes.size,
        proxied=proxied if wishes.sig_proxy else (),
        on_created=on_created,
        on_signal=target.signal,
        on_resize=target.resize,
    )
    return relay.run()


def check_terminal(*, tty: bool, stdin: bool) -> None:
    """Refuse a terminal for the process when our own input is none.

    Raises:
        UsageError: tty and stdin are wanted, and standard input is no terminal.
    """
    if tty and stdin and not posix.isatty(0):
        raise UsageError(
            "the input device is not a TTY", hint="leave out -t, or run it in a terminal", code=1
        )


def terminal_size(*, tty: bool) -> tuple[int, int] | None:
    """Return rows and columns of our terminal for a process that gets one."""
    if not tty:
        return None
    from sampan.cli.terminal import window_size

    return window_size()


def is_missing_endpoint(error: NotFound) -> bool:
    """Tell whether a 404 means that this daemon is no sampand, so that Docker's own calls are to be used."""
    return "page not found" in str(error)


def show_warnings(document: dict[str, JsonValue]) -> None:
    """Write the warnings of an answer to standard error."""
    warnings = document.get("Warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        complain(f"warning: {warning}")


def could_not_run(error: SampanError) -> Failed:
    """Return the error of a container that did not run, with the exit code docker gives it."""
    text = str(error).lower()
    code = next((code for words, code in _COULD_NOT_RUN if any(word in text for word in words)), 125)
    return Failed(str(error), hint=error.hint, code=code)


def exit_code(ended: Ended) -> int:
    """Return the exit code for a session that ended with a frame, after showing its error.

    Raises:
        Failed: the process could not be started, or its end is not known.
    """
    if ended.error:
        raise Failed(ended.error, hint=ended.hint, code=ended.code or 125)
    return ended.code


def wait_for(session: Session, container: str, condition: str) -> int:
    """Wait until the container ends and return its exit code.

    Raises:
        SampanError: there is no such container, or the wait failed.
    """
    query = [("condition", condition)] if condition else []
    document = session.call("POST", f"/containers/{quote(container)}/wait", query)
    return parse_wait(document)


def parse_wait(document: JsonValue) -> int:
    """Return the exit code in an answer of `/wait`.

    Raises:
        Failed: the daemon could not wait to the end.
    """
    assert isinstance(document, dict)
    error = document.get("Error")
    if isinstance(error, dict) and error.get("Message"):
        raise Failed(f"waiting failed: {error['Message']}", code=125)
    code = document.get("StatusCode")
    return code if isinstance(code, int) else 125
