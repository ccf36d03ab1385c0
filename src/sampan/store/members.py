"""The members of an image archive, staged while the stream passes by, then found by name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Final

from sampan.errors import InvalidArgument
from sampan.ids import Digest, digest_hex, parse_digest
from sampan.spec.image import MAX_DOCUMENT_BYTES, Descriptor
from sampan.store.archive import headers
from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.archive.limits import Limits
from sampan.store.archive.names import clean_name
from sampan.store.archive.readable import Readable
from sampan.store.archive.reader import TarReader
from sampan.store.blobs import StagedBlob
from sampan.store.staging import Staging

_LIMITS: Final = Limits(entries=100_000)  # three for each layer in the oldest form of docker save
_MAX_LINKS = 16
_BLOBS = "blobs/sha256/"
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)

Lend = Callable[[Digest], StagedBlob | None]


class Members:
    """Regular files of an archive by cleaned name; links between them are followed as text."""

    def __init__(self, lend: Lend | None = None) -> None:
        self._lend = lend
        self._files: dict[str, StagedBlob] = {}
        self._links: dict[str, str] = {}

    @classmethod
    def read(cls, stream: Readable, staging: Staging, *, lend: Lend | None = None) -> Members:
        """Stage every file of the archive in a stream; a later file of the same name counts.

        lend gives blobs that the archive lacks.

        Raises:
            InvalidArgument: the archive is damaged, or holds what no image archive does.
        """
        members = cls(lend)
        plain = PlainStream(stream, limits=_LIMITS)
        reader = TarReader(lambda: plain.read(CHUNK_BYTES), limits=_LIMITS)
        for entry in reader:
            name = _decode(clean_name(entry.name, limit_bytes=_LIMITS.path_bytes))
            if entry.kind == headers.REGULAR and entry.sparse is None:
                members._links.pop(name, None)
                members._files[name] = staging.add(reader.data())
                _check_name(name, members._files[name])
            elif entry.kind in (headers.HARD_LINK, headers.SYMLINK):
                members._files.pop(name, None)
                members._links[name] = _target(name, entry.kind, _decode(entry.linkname))
            elif entry.kind != headers.DIRECTORY:
                raise InvalidArgument(f"image archive: {name!r} is no file, link or directory")
        while plain.read(CHUNK_BYTES):
            pass  # the sender may wait until everything is taken
        return members

    def find(self, name: str) -> StagedBlob | None:
        """Return the file of a name."""
        for _ in range(_MAX_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return self._borrow(name)
            name = self._links[name]
        return None

    def _borrow(self, name: str) -> StagedBlob | None:
        digits = name.removeprefix(_BLOBS)
        if self._lend is None or digits == name or _HEX.fullmatch(digits) is None:
            return None
        return self._lend(parse_digest(f"sha256:{digits}"))

    def get(self, unsafe_name: str) -> StagedBlob:
        """Return the file of a name that stands in one of the archive's documents.

        Raises:
            InvalidArgument: the archive has no such file.
        """
        name = _decode(clean_name(unsafe_name.encode(), limit_bytes=_LIMITS.path_bytes))
        found = self.find(name)
        if found is None:
            raise InvalidArgument(f"image archive: file {unsafe_name!r} is missing")
        return found

    def has_blob(self, digest: Digest) -> bool:
        """Tell whether there is a blob."""
        return self.find(_BLOBS + digest_hex(digest)) is not None

    def get_blob(self, descriptor: Descriptor) -> StagedBlob:
        """Return the blob that a descriptor names; digest and size have been compared.

        Raises:
            InvalidArgument: it is missing or another one.
        """
        digest = parse_digest(descriptor.digest)
        found = self.find(_BLOBS + digest_hex(digest))
        if found is None:
            raise InvalidArgument(f"image archive: blob {digest} is missing")
        if found.digest != digest:
            raise InvalidArgument(f"blob {digest} is damaged: its content has digest {found.digest}")
        if found.size_bytes != descriptor.size:
            raise InvalidArgument(f"blob {digest} has {found.size_bytes} bytes, not {descriptor.size}")
        return found

    def find_document(self, name: str) -> bytes | None:
        """Return the content of a document."""
        found = self.find(name)
        return None if found is None else read_document(found)


def read_document(blob: StagedBlob) -> bytes:
    """Return the content of a staged document.

    Raises:
        InvalidArgument: it is too long for one.
    """
    if blob.size_bytes > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(f"image document of {blob.size_bytes} bytes; {MAX_DOCUMENT_BYTES} is the most")
    with open(blob.path, "rb") as file:
        return file.read()


def _check_name(name: str, blob: StagedBlob) -> None:
    """A file below blobs/ must be what its name says, whether it is used or not."""
    if name.startswith(_BLOBS):
        claimed = name[len(_BLOBS) :]
        if claimed != digest_hex(blob.digest):
            raise InvalidArgument(f"blob sha256:{claimed} is damaged: its content has digest {blob.digest}")


def _target(name: str, kind: bytes, linkname: str) -> str:
    """Return the name in the archive that a link leads to: hard links name members, symlinks are relative."""
    if kind == headers.SYMLINK:
        linkname = posixpath.join(posixpath.dirname(name), linkname)
    return _decode(clean_name(linkname.encode("utf-8", "surrogateescape"), limit_bytes=_LIMITS.path_bytes))


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
