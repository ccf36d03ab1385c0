"""A directory as a build's context: a tar stream without what `.dockerignore` names, owned by root.

Loaded by `sampan build` when it is used; a thread packs into a pipe, so that nothing is held in memory.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator

from sampan.build.ignore import parse_ignore
from sampan.build.patterns import PatternList
from sampan.errors import InvalidArgument
from sampan.kernel.files import write_all
from sampan.store.archive.headers import REGULAR
from sampan.store.archive.writer import TarWriter

_IGNORE = ".dockerignore"
_PIECE = 256 * 1024


def find_dockerfile(folder: str, file: str) -> tuple[str, bytes | None]:
    """Return a Dockerfile's name in the context, and its content when it lies elsewhere.

    Raises:
        InvalidArgument: there is none.
    """
    if file == "-":
        return f".dockerfile.{os.urandom(8).hex()}", _read_all(0)
    if not file:
        has_lower = not os.path.exists(f"{folder}/Dockerfile") and os.path.exists(f"{folder}/dockerfile")
        return ("dockerfile" if has_lower else "Dockerfile"), None
    inside = os.path.relpath(os.path.realpath(file), os.path.realpath(folder))
    if not inside.startswith("../") and os.path.exists(file):
        return inside, None
    try:
        with open(file, "rb") as opened:
            return f".dockerfile.{os.urandom(8).hex()}", opened.read()
    except OSError as exc:
        raise InvalidArgument(f"unable to read the Dockerfile {file!r}: {exc.strerror}") from exc


def _read_all(fd: int) -> bytes:
    pieces = []
    while data := os.read(fd, _PIECE):
        pieces.append(data)
    return b"".join(pieces)


class _Pipe:
    """A sink that writes to a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take a piece."""
        write_all(self._fd, bytes(data))

    def copy(self, fd: int, size: int, /) -> None:
        """Take size bytes of a file, zeros for what it has lost."""
        at = 0
        while at < size:
            piece = os.pread(fd, min(_PIECE, size - at), at) or bytes(min(_PIECE, size - at))
            self.write(piece)
            at += len(piece)


def send_dockerfile(name: str, content: bytes) -> Iterator[bytes]:
    """Yield a context that is a Dockerfile alone."""
    return _packed(lambda writer: _add_bytes(writer, name, content))


def send_directory(folder: str, dockerfile: str, extra: bytes | None) -> Iterator[bytes]:
    """Yield a directory as a tar stream; extra is the content of a Dockerfile that is not in it.

    Raises:
        InvalidArgument: `.dockerignore` is malformed. OSError: something cannot be read.
    """
    patterns = _patterns(folder, dockerfile)

    def pack(writer: TarWriter) -> None:
        if extra is not None:
            _add_bytes(writer, dockerfile, extra)
        _add_below(writer, folder, "", patterns, always={dockerfile, _IGNORE, f"{dockerfile}{_IGNORE}"})

    return _packed(pack)


def _patterns(folder: str, dockerfile: str) -> PatternList:
    for name in (f"{dockerfile}{_IGNORE}", _IGNORE):
        try:
            with open(f"{folder}/{name}", "rb") as file:
                return parse_ignore(file.read(), file=name)
        except FileNotFoundError:
            continue
    return PatternList([])


def _packed(pack: Callable[[TarWriter], None]) -> Iterator[bytes]:
    import threading

    reader, writing = os.pipe()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            writer = TarWriter(_Pipe(writing))
            pack(writer)
            writer.finish()
        except BaseException as exc:  # the reader raises it
            errors.append(exc)
        finally:
            os.close(writing)

    thread = threading.Thread(target=run, name="context", daemon=True)
    thread.start()
    try:
        while piece := os.read(reader, _PIECE):
            yield piece
    finally:
        os.close(reader)
        thread.join()
    if errors:
        raise errors[0]


def _add_bytes(writer: TarWriter, name: str, content: bytes) -> None:
    writer.header(os.fsencode(name), REGULAR, mode=0o600, size=len(content))
    fd = os.memfd_create("dockerfile", os.MFD_CLOEXEC)
    try:
        write_all(fd, content)
        writer.data(fd, len(content))
    finally:
        os.close(fd)


def _add_below(writer: TarWriter, folder: str, path: str, patterns: PatternList, *, always: set[str]) -> None:
    with os.scandir(posixpath.join(folder, path)) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        inside = posixpath.join(path, entry.name)
        is_directory = entry.is_dir(follow_symlinks=False)
        out = bool(patterns) and inside not in always and patterns.matches(inside)
        holds_one = any(name.startswith(f"{inside}/") for name in always)
        if out and not (is_directory and (patterns.has_exceptions or holds_one)):
            continue
        if not out:
            _add_one(writer, entry, inside)
        if is_directory:
            _add_below(writer, folder, inside, patterns, always=always)


def _add_one(writer: TarWriter, entry: os.DirEntry[str], inside: str) -> None:
    status = entry.stat(follow_symlinks=False)
    owned = os.stat_result((*status[:4], 0, 0, *status[6:]), {"st_mtime_ns": status.st_mtime_ns})
    name = os.fsencode(inside)
    if entry.is_symlink():
        writer.entry(name, owned, linkname=os.fsencode(os.readlink(entry.path)))
    elif entry.is_file(follow_symlinks=False):
        fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            writer.entry(name, owned)
            writer.data(fd, status.st_size)
        finally:
            os.close(fd)
    elif entry.is_dir(follow_symlinks=False):
        writer.entry(name, owned)
