"""`sampan cp`: between a container and this machine, and tar streams on standard input and output. Lean.

What comes from a container is unpacked as carefully as in a container (docs/files.md): nothing in an archive
leads out of the directory that it is extracted to.
"""

from __future__ import annotations

import os
import stat

from sampan.cli.copy_paths import Place, keep_end, plan_route, rebase, split_argument, split_entry
from sampan.cli.outcome import Failed, complain
from sampan.cli.relay import write_all
from sampan.client.http import quote
from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.cli.context import Context
    from sampan.cli.copy_paths import Route
    from sampan.cli.flags import Flags
    from sampan.client.http import Chunks, ChunkSink, Response
    from sampan.client.session import Session

_STAT = "x-docker-container-path-stat"
_PIECE = 1 << 20
_MAX_LINKS = 10
# Bits of Go's os.FileMode.
_DIRECTORY, _LINK = 1 << 31, 1 << 27
_DEVICE, _IRREGULAR = 1 << 26 | 1 << 25 | 1 << 24, 1 << 19


def copy(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Copy files; one of the two paths names a container."""
    if not all(arguments):
        raise Failed(f"{'destination' if arguments[0] else 'source'} can not be empty")
    (source_container, source), (container, target) = map(split_argument, arguments)
    if source_container and container:
        raise Failed(
            "copying between containers is not supported", hint="sampan cp A:PATH - | sampan cp - B:PATH"
        )
    if not source_container and not container:
        raise Failed("must specify at least one container source", hint="sampan cp CONTAINER:PATH .")
    session = context.session()
    quiet = flags.truth("quiet", not os.isatty(1))
    if source_container:
        size = _copy_out(session, source_container, source, target, flags)
        where = target if target != "-" else ""
    else:
        size = _copy_in(session, source, container, target, flags)
        where = f"{container}:{target}"
    if not quiet and where:
        from sampan.cli.table import human_size

        complain(f"Successfully copied {human_size(size, digits=3)} to {where}")
    return 0


# Out of a container


def _copy_out(session: Session, container: str, source: str, target: str, flags: Flags) -> int:
    """Extract an archive of the container here; return the bytes it had."""
    if target != "-":
        target = keep_end(os.path.abspath(target), target)
        _check_output(target)
    name = ""
    if flags.truth("follow-link"):
        found = _find(session, container, source)
        if found is not None and _mode(found) & _LINK:
            source, name = rebase(source, _link_target(found, source))
    response = session.open("GET", _url(container), [("path", source)])
    if target == "-":
        while piece := response.read_some():
            write_all(1, piece)
        return 0
    is_dir = bool(_mode(_read_stat(response)) & _DIRECTORY)
    counted = _Counted(response)
    place = Place(path=source, exists=True, is_dir=is_dir, rebase=name)
    _extract(counted, place, _find_target(target), keep_owners=flags.truth("archive"))
    return counted.size


class _Counted:
    """The pieces of an answer, counted."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self.size = 0

    def read_chunk(self) -> bytes:
        piece = self._response.read_some()
        self.size += len(piece)
        return piece


def _extract(archive: _Counted, source: Place, target: Place, *, keep_owners: bool) -> None:
    from sampan.store.archive.placing import AS_CALLER, Rules, place

    route = plan_route(source, target)
    old = split_entry(source.path)[1]

    def rename(name: bytes) -> bytes:
        if source.rebase:
            name = name.replace(os.fsencode("" if old == "/" else old), os.fsencode(source.rebase), 1)
        return route.rename(name)

    owner = None if keep_owners and os.geteuid() == 0 else AS_CALLER
    fd = os.open(route.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place(archive.read_chunk, fd, b"", Rules(owner=owner, rename=rename))
    finally:
        os.close(fd)
    while archive.read_chunk():
        pass  # an archive that breaks off behind its end is an error all the same


def _check_output(path: str) -> None:
    """Refuse a destination that cannot be one before anything is asked for."""
    folder = os.path.dirname(os.path.normpath(path))
    if not os.path.exists(folder):
        raise Failed(f'invalid output path: directory "{folder}" does not exist')
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise Failed(f'invalid output path: "{path}" must be a directory or a regular file')


def _find_target(path: str) -> Place:
    """Describe a destination of this machine; links are followed, a dangling one names what is to be made."""
    for _ in range(_MAX_LINKS + 1):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            parent = split_entry(path)[0]
            if not stat.S_ISDIR(os.stat(parent).st_mode):
                raise Failed(f"{parent}: not a directory") from None
            return Place(path=path)
        if not stat.S_ISLNK(mode):
            return Place(path=path, exists=True, is_dir=stat.S_ISDIR(mode))
        path = os.path.join(split_entry(path)[0], os.readlink(path.rstrip("/")))
    raise Failed(f"too many links at {path}")


# Into a container


def _copy_in(session: Session, source: str, container: str, target: str, flags: Flags) -> int:
    """Send an archive to be extracted in the container; return the bytes it had."""
    place = _find_container_target(session, container, target)
    query = [("noOverwriteDirNonDir", "true")]
    if flags.truth("archive"):
        query.append(("copyUIDGID", "true"))
    if source == "-":
        if not place.is_dir:
            raise Failed(f'destination "{container}:{target}" must be a directory')
        _put(session, container, place.path, query, _read_input())
        return 0
    origin = _find_source(keep_end(os.path.abspath(source), source), follow=flags.truth("follow-link"))
    route = plan_route(origin, place)
    upload = _Upload(origin, route)
    _put(session, container, route.folder, query, upload.write)
    return upload.size


def _find_container_target(session: Session, container: str, path: str) -> Place:
    found = _find(session, container, path)
    if found is not None and _mode(found) & _LINK:
        path = _link_target(found, path)
        found = _find(session, container, path)
    if found is None:
        return Place(path=path)  # its directory may be there
    mode = _mode(found)
    if mode & (_DEVICE | _IRREGULAR):
        kind = "a device" if mode & _DEVICE else "an irregular file"
        raise Failed(f'destination "{container}:{path}" must be a directory or a regular file: got {kind}')
    return Place(path=path, exists=True, is_dir=bool(mode & _DIRECTORY))


def _find_source(path: str, *, follow: bool) -> Place:
    """Describe what is to be copied: links on the way are followed, the last one only if asked for."""
    name = ""
    if follow:
        resolved, name = rebase(path, os.path.realpath(path, strict=True))
    else:
        folder, _, last = path.rpartition("/")
        resolved = os.path.join(os.path.realpath(folder or "/", strict=True), last)
        if path.endswith("/") and os.path.basename(path.rstrip("/")) != os.path.basename(
            resolved.rstrip("/")
        ):
            name = os.path.basename(path.rstrip("/"))
    return Place(path=resolved, exists=True, is_dir=stat.S_ISDIR(os.lstat(resolved).st_mode), rebase=name)


class _Upload:
    """Packs a file or directory of this machine into the body of a request."""

    def __init__(self, source: Place, route: Route) -> None:
        self._source = source
        self._route = route
        self.size = 0

    def write(self, sink: ChunkSink) -> None:
        """Write the archive."""
        from sampan.store.archive.packing import Packer
        from sampan.store.archive.writer import TarWriter

        name = os.fsencode(self._source.rebase or split_entry(self._source.path)[1])
        writer = TarWriter(_CountingSink(self, sink))
        fd = os.open(self._source.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            Packer(writer).add(fd, shown=self._route.rename(name))
        finally:
            os.close(fd)
        writer.finish()


class _CountingSink:
    """A sink that counts for an upload."""

    def __init__(self, upload: _Upload, sink: ChunkSink) -> None:
        self._upload = upload
        self._sink = sink

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        self._upload.size += len(data)
        self._sink.write(data)

    def copy(self, fd: int, size: int, /) -> None:
        self._upload.size += size
        self._sink.copy(fd, size)


def _read_input() -> Iterator[bytes]:
    while piece := os.read(0, _PIECE):
        yield piece


def _put(session: Session, container: str, folder: str, query: list[tuple[str, str]], body: Chunks) -> None:
    response = session.open(
        "PUT",
        _url(container),
        [("path", folder), *query],
        chunks=body,
        headers=[("Content-Type", "application/x-tar")],
    )
    response.read_all()
    session.recycle(response)


# What a container has at a path


def _url(container: str) -> str:
    return f"/containers/{quote(container)}/archive"


def _find(session: Session, container: str, path: str) -> dict[str, object] | None:
    """Return what is at a path of a container, None if there is nothing, or nothing can be told."""
    try:
        response = session.open("HEAD", _url(container), [("path", path)])
    except SampanError:
        return None  # an answer to HEAD cannot say why; the request that follows will
    session.recycle(response)
    return _read_stat(response)


def _read_stat(response: Response) -> dict[str, object]:
    from binascii import a2b_base64

    from sampan import fastjson

    found = fastjson.loads(a2b_base64(response.headers.get(_STAT, "")))
    return dict(found) if isinstance(found, dict) else {}


def _mode(found: dict[str, object]) -> int:
    mode = found.get("mode")
    return mode if isinstance(mode, int) else 0


def _link_target(found: dict[str, object], path: str) -> str:
    target = str(found.get("linkTarget"))
    return target if target.startswith("/") else os.path.join(split_entry(path)[0], target)
