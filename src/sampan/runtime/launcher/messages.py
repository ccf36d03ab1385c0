"""What sampand, the launcher and a shim say to each other, as records and as JSON. Lean (decision 0002).

The protocol is in docs/shim.md. Descriptors never appear in a body: they travel beside it, in the order
the body's parts are listed there.
"""

from __future__ import annotations

from sampan import errors, fastjson
from sampan.errors import SampanError, Unavailable
from sampan.kernel import files
from sampan.lean import record
from sampan.runtime.requests import RootMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal, TypeVar

    from sampan.fastjson import JsonValue

    DetachReason = Literal["keys", "eof", "gone"]
    Document = dict[str, JsonValue]
    _R = TypeVar("_R")

NETSPACE = "netspace"  # op of a packet that asks for network namespaces (docs/networks.md)
ROOT = "root"  # op of a packet that asks for a view of a container's root (docs/files.md)
DEFAULT_LOG_SIZE = 20 * 1024 * 1024
DEFAULT_LOG_FILES = 5
DEFAULT_LOG_BUFFER = 1024 * 1024


@record
class LogSettings:
    """Where a container's output goes (docs/logs.md).

    driver: json-file, local, journald, syslog. path and max_size (bytes, 0 for never rotated), max_files and
    compress are of files; attrs is a JSON object that goes with each record, or "". target: what journald
    and syslog need, as their modules say; cache: the log that is kept beside them to be read back.
    """

    path: str
    driver: str = "json-file"
    max_size: int = DEFAULT_LOG_SIZE
    max_files: int = DEFAULT_LOG_FILES
    compress: bool = False
    attrs: str = ""
    enabled: bool = True
    blocking: bool = True
    buffer_bytes: int = DEFAULT_LOG_BUFFER
    target: Mapping[str, str] | None = None
    cache: LogSettings | None = None


@record
class ShimRequest:
    """One container to create and start.

    run_dir is `<run-root>/containers/<id>`; the shim makes it (0700) where it is missing. root_mount is None
    when the bundle's root path already holds the file system. console_size is (rows, columns).
    runtime, when set, is another OCI runtime: its absolute path, then its global options.
    report asks the runtime to note each step for `sampan explain` (ShimHandle.report). seccomp_cache: where
    compiled filters are kept, "" for below the default data root.
    """

    id: str
    run_dir: str
    bundle: str
    log: LogSettings
    root_mount: RootMount | None = None
    terminal: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] | None = None
    runtime: tuple[str, ...] | None = None
    init: bool = False
    report: bool = False
    seccomp_cache: str = ""


@record
class ViewRequest:
    """A container's root to be opened for its files; the launcher's fork that does it ends at once.

    root_mount and mounts (OCI, binds only): put together anew, for a container that does not run. With
    root_mount None the mount namespace that travels along is entered, and its root taken without the mounts
    in it. read_only: what was put together cannot be written to.
    """

    root_mount: RootMount | None = None
    mounts: tuple[Mapping[str, object], ...] = ()
    read_only: bool = False


@record
class AttachRequest:
    """A client's connection to join to a container's streams.

    fd is a stream socket; it is duplicated for the shim, the caller still closes its own. framed puts an
    8-byte header before each piece (Docker's multiplexed stream); detach_keys empty means none. end_frame:
    after the last byte of output the client is told the exit code in a frame of number 5 (docs/api.md), and
    the connection is not shut down: its end is for whoever holds the other duplicate to choose. hold: it is
    sent nothing before `HeldClient.join`.
    """

    fd: int
    attach_id: str
    framed: bool
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    detach_keys: bytes = b""
    end_frame: bool = False
    hold: bool = False


@record
class ExecStart:
    """A further process in the running container; process is the OCI `process` object of config.json.

    Without attach the process reads /dev/null and what it writes is thrown away. capture: it is a check of
    the container's health; so many bytes of its output are told with its end, and timeout_s ends it.
    """

    exec_id: str
    process: Mapping[str, JsonValue]
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    attach: AttachRequest | None = None
    capture: int = 0
    timeout_s: float = 0.0


@record
class Exited:
    """The container's init has ended, its output is logged and delivered, exit.json is written."""

    code: int
    signal: int
    oom_killed: bool
    at_ns: int


@record
class ExecExited:
    """An exec has ended and its output was delivered; its stream stays open until `acknowledge`."""

    exec_id: str
    code: int
    at_ns: int


@record
class Detached:
    """An attached client is gone: by its detach keys, at the end of output ("eof"), or it vanished."""

    attach_id: str
    reason: DetachReason


@record
class LogTrouble:
    """Log records were dropped (disk full, target away or slow). Said once at first, and at the end."""

    dropped_bytes: int
    at_end: bool


@record
class Lost:
    """The shim's connection ended: read exit.json; without one the shim was killed, and init with it."""


if TYPE_CHECKING:
    Event = Exited | ExecExited | Detached | LogTrouble | Lost

_EVENTS: dict[str, Callable[..., Event]] = {
    kind.__name__: kind for kind in (Exited, ExecExited, Detached, LogTrouble)
}


@record
class ExitRecord:
    """exit.json: how a container ended; code is 128 + signal when killed by one, times are ns since 1970."""

    id: str
    code: int
    signal: int
    oom_killed: bool
    started_at: int
    finished_at: int


def pack(value: object) -> Document:
    """Turn a record into a part of a packet, for `unpack_*`; descriptors stay out, bytes go as Latin-1."""
    document: Document = {}
    for name, field in value.__dict__.items():
        if name == "fd":
            continue
        if isinstance(field, bytes):
            document[name] = field.decode("latin-1")
        else:
            document[name] = pack(field) if hasattr(field, "_fields") else field
    return document


def unpack_request(raw: object) -> ShimRequest:
    """Return the container to start out of a packet. Raises Unavailable if it is of another version."""
    fields = _fields(raw)
    raw_log = _fields(fields.pop("log", None))
    root_mount = fields.pop("root_mount", None)
    return _build(
        ShimRequest,
        fields,
        log=_unpack_log(raw_log) if raw_log.get("cache") else _build(LogSettings, raw_log),
        root_mount=None if root_mount is None else _build(RootMount, _fields(root_mount)),
    )


def unpack_view(raw: object) -> ViewRequest:
    """Return the root to open out of a packet. Raises Unavailable if it is of another version."""
    fields = _fields(raw)
    root_mount = fields.pop("root_mount", None)
    return _build(
        ViewRequest,
        fields,
        root_mount=None if root_mount is None else _build(RootMount, _fields(root_mount)),
    )


def _unpack_log(raw: object) -> LogSettings:
    fields = _fields(raw)
    cache = fields.pop("cache", None)
    return _build(LogSettings, fields, cache=None if cache is None else _unpack_log(cache))


def read_request(path: str) -> ShimRequest:
    """Return the container of a file that holds a packed request. Raises OSError, Unavailable."""
    return unpack_request(fastjson.loads(files.read_file(path)))


def unpack_attach(raw: object, fd: int) -> AttachRequest:
    """Return a client to attach out of a packet, with the descriptor that came with it."""
    fields = _fields(raw)
    keys = str(fields.pop("detach_keys", ""))
    return _build(AttachRequest, fields, fd=fd, detach_keys=keys.encode("latin-1"))


def unpack_exec(raw: object, fds: Sequence[int]) -> ExecStart:
    """Return an exec to start out of a packet; fds is its client's descriptor, if it has one."""
    fields = _fields(raw)
    raw_attach = fields.pop("attach", None)
    attach = unpack_attach(raw_attach, fds[0]) if raw_attach is not None and fds else None
    return _build(ExecStart, fields, attach=attach)


def pack_event(event: Event) -> Document:
    """Return an event as a packet."""
    return {"event": type(event).__name__, **pack(event)}


def unpack_event(document: Document) -> Event:
    """Return the event of a packet. Raises Unavailable if it is of another version."""
    fields = dict(document)
    kind = _EVENTS.get(str(fields.pop("event", "")))
    if kind is None:
        raise Unavailable("the shim sent an event of another version")
    return _build(kind, fields)


def _fields(raw: object) -> dict[str, object]:
    """Return the fields of a part of a packet: records hold tuples where JSON has lists."""
    if not isinstance(raw, dict):
        raise Unavailable("a part is missing in a packet of the launcher protocol")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}


def _build(kind: Callable[..., _R], fields: Mapping[str, object], **more: object) -> _R:
    try:
        return kind(**fields, **more)
    except TypeError as exc:
        raise Unavailable(f"the other end of the launcher protocol is of another version: {exc}") from exc


def error_document(error: Exception) -> Document:
    """Say an error so that `raise_error` raises the same class at the other end."""
    if isinstance(error, SampanError):
        return {"error": {"kind": type(error).__name__, "message": str(error), "hint": error.hint}}
    return {"error": {"kind": "SampanError", "message": f"{type(error).__name__}: {error}", "hint": ""}}


def raise_error(document: Mapping[str, JsonValue]) -> None:
    """Raise what the other end reported, if it did.

    Raises:
        SampanError: the class that `error_document` was given.
    """
    error = document.get("error")
    if not isinstance(error, dict):
        return
    kind = getattr(errors, str(error.get("kind")), SampanError)
    known = kind if isinstance(kind, type) and issubclass(kind, SampanError) else SampanError
    raise known(str(error.get("message")), hint=str(error.get("hint", "")))


def check_document(value: JsonValue) -> Document:
    """Return value if it is a JSON object.

    Raises:
        Unavailable: it is something else, so the other end speaks another protocol.
    """
    if not isinstance(value, dict):
        raise Unavailable("the launcher or shim answered something that is no object")
    return value
