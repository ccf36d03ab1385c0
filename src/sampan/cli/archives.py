"""Archives that commands read and write: files, standard input and output. Lean (decision 0002)."""

from __future__ import annotations

import os
import stat

from sampan.cli.outcome import UsageError
from sampan.cli.relay import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.client.http import Response

STDIO = ("", "-")  # the paths that mean standard input or output
_PIECE = 256 * 1024


def check_destination(path: str, *, instead: str) -> None:
    """Refuse to write an archive to a terminal, before it is asked for.

    path: a file, or one of STDIO. instead: the command line that would be right.

    Raises:
        UsageError: path means standard output, and that is a terminal.
    """
    if path in STDIO and os.isatty(1):
        raise UsageError("an archive would not look well on a terminal", hint=instead, code=1)


def write_archive(response: Response, path: str, *, flag: str = "-o, --output") -> None:
    """Write a response to a file, whole or not at all; to one of STDIO, a device or a pipe as it comes.

    A file is written beside the wanted one and renamed, so that an archive that broke off never stands
    there; it is its owner's alone.

    Raises:
        UsageError: the file cannot be written; flag begins the message.
    """
    if path in STDIO:
        while piece := response.read_some():
            write_all(1, piece)
        return
    target = os.path.realpath(path)
    made = target if _is_special(target) else f"{target}.{os.getpid()}.part"
    try:
        fd = os.open(
            made, os.O_WRONLY | os.O_CLOEXEC | (0 if made == target else os.O_CREAT | os.O_EXCL), 0o600
        )
    except OSError as exc:
        raise _unwritable(flag, path, exc) from exc
    try:
        while piece := response.read_some():
            _write(fd, piece, flag, path)
        if made != target:
            _rename(made, target, flag, path)
    except BaseException:  # ctrl-C, too, leaves nothing half-written
        if made != target:
            os.unlink(made)
        raise
    finally:
        os.close(fd)


def _is_special(path: str) -> bool:
    """Tell whether this is a device, a pipe or a socket: nothing may be renamed over it."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write(fd: int, piece: bytes, flag: str, path: str) -> None:
    try:
        write_all(fd, piece)
    except OSError as exc:
        raise _unwritable(flag, path, exc) from exc


def _rename(made: str, target: str, flag: str, path: str) -> None:
    try:
        os.rename(made, target)
    except OSError as exc:
        raise _unwritable(flag, path, exc) from exc


def _unwritable(flag: str, path: str, exc: OSError) -> UsageError:
    return UsageError(f"{flag}: cannot write {path!r}: {exc.strerror}", code=1)


def open_archive(flag: str, path: str, *, instead: str = "") -> int:
    """Return a descriptor to read from, 0 for one of STDIO; the flag begins the message.

    instead: a command line with a file in it; if given, a terminal is refused as standard input.

    Raises:
        UsageError: the file cannot be read, or standard input is a terminal.
    """
    if path in STDIO:
        if instead and os.isatty(0):
            raise UsageError("there is no archive on standard input", hint=instead, code=1)
        return 0
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise UsageError(f"{flag}: cannot read {path!r}: {exc.strerror}", code=1) from exc


def read_pieces(fd: int) -> Iterator[bytes]:
    """Yield what is in a file."""
    while piece := os.read(fd, _PIECE):
        yield piece
