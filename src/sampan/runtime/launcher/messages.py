"""What sampand, the launcher and a shim say to each other, as records and as JSON. Lean (decision 0002).

The protocol is in docs/shim.md. Descriptors never appear in a body: they travel beside it, in the order
the body's parts are listed there.
"""

from __future__ import annotations

from sampan import errors
from sampan.errors import SampanError, Unavailable
from sampan.lean import record
from sampan.runtime.lifecycle import RootMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from sampan.fastjson import JsonValue

    DetachReason = Literal["keys", "eof", "gone"]
    Document = dict[str, JsonValue]

DEFAULT_LOG_SIZE = 20 * 1024 * 1024
DEFAULT_LOG_FILES = 5


@record
class LogSettings:
    """Where a container's json-file log goes and when it is rotated; max_size in bytes, 0 for never."""

    path: str
    max_size: int = DEFAULT_LOG_SIZE
    max_files: int = DEFAULT_LOG_FILES
    enabled: bool = True


@record
class ShimRequest:
    """One container to create and start.

    run_dir is `<run-root>/containers/<id>`; the shim makes it (0700) where it is missing. root_mount is None
    when the bundle's root path already holds the file system. console_size is (rows, columns).
    runtime, when set, is another OCI runtime: its absolute path, then its global options.
    report asks the runtime to note each step for `sampan explain` (ShimHandle.report).
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


@record
class AttachRequest:
    """A client's connection to join to a container's streams.

    fd is a stream socket; it is duplicated for the shim, the caller still closes its own. framed puts an
    8-byte header before each piece (Docker's multiplexed stream); detach_keys empty means none.
    """

    fd: int
    attach_id: str
    framed: bool
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    detach_keys: bytes = b""


@record
class ExecStart:
    """A further process in the running container; process is the OCI `process` object of config.json.

    Without attach the process reads /dev/null and what it writes is thrown away.
    """

    exec_id: str
    process: Mapping[str, JsonValue]
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    attach: AttachRequest | None = None


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
class Lost:
    """The shim's connection ended. Nothing more comes: read exit.json; without one the container was killed."""


if TYPE_CHECKING:
    Event = Exited | ExecExited | Detached | Lost


@record
class ExitRecord:
    """exit.json: how a container ended. code is 128 + signal when a signal ended it; times in ns since 1970."""

    id: str
    code: int
    signal: int
    oom_killed: bool
    started_at: int
    finished_at: int


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
