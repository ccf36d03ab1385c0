"""Files in and out of containers: tar archives as they travel, and single files in them."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final

from sampan.client.http import Response
from sampan.client.values import PathStat
from sampan.errors import InvalidArgument, SampanError

_PIECE: Final = 256 * 1024
_STAT: Final = "x-docker-container-path-stat"

Data = bytes | Iterable[bytes] | io.BufferedIOBase


class Download:
    """An answer that is a file: read it in pieces, or whole, and close it (a `with` block does)."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.response.read_some():
            yield piece

    def read_some(self) -> bytes:
        """Return the next piece as soon as there is one, and nothing at the end."""
        return self.response.read_some()

    def read_all(self) -> bytes:
        """Return all that is left."""
        return self.response.read_all()

    def limit(self, timeout_s: float | None) -> None:
        """Let no read wait longer; one that does raises TimedOut."""
        self.response.connection.limit(timeout_s)

    def abort(self) -> None:
        """Make a read that another thread waits in return at once; it is still to be closed."""
        self.response.connection.abort()

    def close(self) -> None:
        """Give up the rest."""
        self.response.close()


class Archive(Download):
    """A tar archive of a path inside a container. stat: what the path is."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.stat = PathStat.read(response.headers.get(_STAT, ""))

    def __enter__(self) -> Archive:
        return self


def path_stat(response: Response) -> PathStat:
    """Return what the answer of a HEAD says of its path."""
    return PathStat.read(response.headers.get(_STAT, ""))


def pieces_of(data: Data) -> Iterator[bytes]:
    """Return data in pieces fit to be sent."""
    if isinstance(data, bytes):
        return (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    if isinstance(data, io.BufferedIOBase):
        return iter(lambda: data.read(_PIECE), b"")
    return iter(data)


def pack_file(name: str, data: bytes, *, mode: int, uid: int, gid: int) -> bytes:
    """Return a tar archive that holds one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.uid, entry.gid = len(data), mode, uid, gid
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unpack_file(archive: Archive, path: str) -> bytes:
    """Return the content of the one file in archive.

    Raises:
        InvalidArgument: path is no ordinary file.
        SampanError: the archive is damaged.
    """
    if not stat.S_ISREG(archive.stat.mode):
        raise InvalidArgument(f"{path!r} is no ordinary file", hint="get_archive takes any path")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.read_all())) as found:
            member = found.next()
            content = found.extractfile(member) if member is not None else None
            if content is None:
                raise SampanError(f"the daemon's archive of {path!r} holds no file")
            return content.read()
    except tarfile.TarError as exc:
        raise SampanError(f"the daemon's archive of {path!r} is damaged: {exc}") from exc
