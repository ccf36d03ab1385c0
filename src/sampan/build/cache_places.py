"""Where a build cache lies when it travels: a registry, a directory, the client's side of a session.

Whoever has one gives `CacheSource`s and `CacheTarget`s; here is the one of a directory, an OCI layout.
Source: OCI image-spec, image-layout.md; BuildKit, client/ociindex (one entry a tag).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from sampan.build.cache_format import MOST_BYTES
from sampan.build.cache_options import CacheFromOption, CacheToOption
from sampan.errors import InvalidArgument, NotFound, SampanError
from sampan.ids import Digest, digest_hex, parse_digest
from sampan.kernel.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from sampan.kernel.files import write_all
from sampan.kernel.resolve import openat2
from sampan.spec import gojson
from sampan.spec.image import OCI_INDEX, REF_NAME, Descriptor, Index, encode
from sampan.store.archive.readable import Readable
from sampan.store.digests import digest_of

_PIECE: Final = 1 << 20
_RESOLVE: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
_MARKER: Final = b'{"imageLayoutVersion":"1.0.0"}'


class CacheSource(Protocol):
    """A cache to be read."""

    def top(self) -> bytes:
        """Return its manifest or index.

        Raises:
            NotFound: there is none.
        """
        ...

    def read(self, descriptor: Descriptor) -> bytes:
        """Return a document, compared with its digest."""
        ...

    def open(self, descriptor: Descriptor) -> AbstractContextManager[Readable]:
        """Open a layer; whoever reads it compares its digest."""
        ...


class CacheTarget(Protocol):
    """A cache to be written: blobs first, then what names them."""

    def put_blob(self, digest: Digest, path: str, *, size_bytes: int) -> None:
        """Write a blob from a file, unless it is there."""
        ...

    def put_top(self, raw: bytes, media_type: str) -> None:
        """Write the manifest or index."""
        ...


@dataclass(frozen=True, slots=True)
class CacheFrom:
    """A cache that a build may take steps of. source: opens it; None: an image, or a cache in a registry."""

    option: CacheFromOption
    source: Callable[[], CacheSource] | None = None
    asks: bool = True  # its registry, where there is no such image here


@dataclass(frozen=True, slots=True)
class CacheTo:
    """Where a build writes its steps. target: opens it; None: a registry, or the image itself (inline)."""

    option: CacheToOption
    target: Callable[[], CacheTarget] | None = None


class Folder:
    """An OCI layout in an open directory, which belongs to it; a `CacheSource` and a `CacheTarget`.

    What it makes is the directory's owner's: it may be a user's, and we are root.
    """

    def __init__(self, fd: int, *, tag: str, digest: str = "") -> None:
        self._fd = fd
        self._tag = tag
        self._digest = digest
        self._owner = os.fstat(fd)

    def close(self) -> None:
        """Give the directory back."""
        os.close(self._fd)

    def top(self) -> bytes:
        """See `CacheSource`."""
        if self._digest:
            return self._read(parse_digest(self._digest), MOST_BYTES)
        found = [one for one in self._index().manifests if one.annotations.get(REF_NAME) == self._tag]
        if not found:
            raise NotFound(f"the directory has no cache of the tag {self._tag!r}")
        return self.read(found[-1])

    def read(self, descriptor: Descriptor) -> bytes:
        """See `CacheSource`."""
        return self._read(parse_digest(descriptor.digest), descriptor.size)

    def _read(self, digest: Digest, limit: int) -> bytes:
        with self._open(f"blobs/sha256/{digest_hex(digest)}") as file:
            raw = file.read(min(limit, MOST_BYTES) + 1)
        if digest_of(raw) != digest:
            raise InvalidArgument(f"blob {digest} of the cache is damaged")
        return raw

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[Readable]:
        """See `CacheSource`."""
        with self._open(f"blobs/sha256/{digest_hex(parse_digest(descriptor.digest))}") as file:
            yield file

    @contextmanager
    def _open(self, path: str) -> Iterator[Readable]:
        try:
            fd = openat2(self._fd, path, os.O_RDONLY | os.O_NOFOLLOW, resolve=_RESOLVE)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR):
                raise NotFound(f"the directory is no cache, or not whole: {path} is missing") from exc
            raise SampanError(f"{path} of the cache cannot be read: {exc.strerror}") from exc
        with os.fdopen(fd, "rb", buffering=0) as file:
            yield file

    def _index(self) -> Index:
        with self._open("index.json") as file:
            return gojson.decode(file.read(MOST_BYTES), Index)

    def put_blob(self, digest: Digest, path: str, *, size_bytes: int) -> None:
        """See `CacheTarget`."""
        with open(path, "rb", buffering=0) as file:
            self._put(digest, lambda: file.read(_PIECE))

    def _put(self, digest: Digest, read: Callable[[], bytes]) -> None:
        folder = self._folder("blobs", "sha256")
        try:
            name = digest_hex(digest)
            if not _exists(folder, name):
                self._write(folder, name, read)
        finally:
            os.close(folder)

    def put_top(self, raw: bytes, media_type: str) -> None:
        """See `CacheTarget`."""
        digest = digest_of(raw)
        self._put(digest, _once(raw))
        try:
            before = self._index().manifests
        except NotFound:
            before = []
        own = Descriptor(
            mediaType=media_type, digest=digest, size=len(raw), annotations={REF_NAME: self._tag}
        )
        kept = [one for one in before if one.annotations.get(REF_NAME) != self._tag]
        index = Index(schemaVersion=2, mediaType=OCI_INDEX, manifests=[*kept, own])
        self._write(self._fd, "oci-layout", _once(_MARKER))
        self._write(self._fd, "index.json", _once(encode(index)))

    def _folder(self, *names: str) -> int:
        """Open a directory, made where it is missing; the caller closes it."""
        fd = os.dup(self._fd)
        for name in names:
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chown(name, self._owner.st_uid, self._owner.st_gid, dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                pass
            try:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _write(self, folder: int, name: str, read: Callable[[], bytes]) -> None:
        """Write a file, whole or not at all."""
        fresh = f".{name[:16]}.{os.urandom(6).hex()}"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            try:
                while piece := read():
                    write_all(fd, piece)
                os.fchown(fd, self._owner.st_uid, self._owner.st_gid)
            finally:
                os.close(fd)
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(fresh, dir_fd=folder)
            raise


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _once(raw: bytes) -> Callable[[], bytes]:
    """Return what reads raw, then nothing."""
    pieces = [b"", raw]
    return lambda: pieces.pop() if pieces else b""
