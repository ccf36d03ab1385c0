"""Content by digest: the blobs of the OCI layout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from sampan.errors import NotFound, SampanError
from sampan.ids import Digest, parse_digest
from sampan.store.digests import digest_of
from sampan.store.places import Places


@dataclass(frozen=True, slots=True)
class StagedBlob:
    """A file in `tmp/` with content whose digest has been computed."""

    path: str
    digest: Digest
    size_bytes: int


class Blobs:
    """All blobs; thread-safe: a name appears with its whole content, synced, or not at all."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def keep(self, staged: StagedBlob) -> None:
        """Move a staged file to its place; the caller holds a pin on the digest."""
        with open(staged.path, "rb") as file:
            os.fsync(file.fileno())
        os.rename(staged.path, self._places.blob(staged.digest))

    def sync(self) -> None:
        """Make sure that the names of kept blobs survive a power cut."""
        fd = os.open(self._places.blobs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def stage(self, data: bytes) -> StagedBlob:
        """Write a document to `tmp/`; `keep` puts it in its place."""
        path = self._places.new_temporary("blob")
        with open(path, "xb") as file:
            file.write(data)
        return StagedBlob(path, digest_of(data), len(data))

    def path(self, digest: Digest) -> str:
        """Return where a blob lies, or would."""
        return self._places.blob(digest)

    def exists(self, digest: Digest) -> bool:
        """Tell whether a blob is there."""
        return os.path.exists(self._places.blob(digest))

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading, unbuffered; the content is not checked.

        Raises:
            NotFound: there is no such blob.
        """
        try:
            return open(self._places.blob(digest), "rb", buffering=0)
        except FileNotFoundError as exc:
            raise NotFound(f"blob {digest} is not in the store") from exc

    def size(self, digest: Digest) -> int:
        """Return the bytes of a blob.

        Raises:
            NotFound: there is no such blob.
        """
        try:
            return os.stat(self._places.blob(digest)).st_size
        except FileNotFoundError as exc:
            raise NotFound(f"blob {digest} is not in the store") from exc

    def read(self, digest: Digest) -> bytes:
        """Return a document, checked against its digest.

        Raises:
            NotFound: there is no such blob.
            SampanError: its file is damaged.
        """
        with self.open(digest) as file:
            data = file.read()
        if digest_of(data) != digest:
            raise SampanError(
                f"blob {digest} is damaged",
                hint="remove its image, and load or pull it again",
            )
        return data

    def delete(self, digest: Digest) -> None:
        """Remove a blob; nothing happens if it is not there."""
        try:
            os.unlink(self._places.blob(digest))
        except FileNotFoundError:
            pass

    def take_away(self, digest: Digest) -> str:
        """Remove a blob's name, and return the temporary file that has its content now."""
        path = self._places.new_temporary("blob")
        os.rename(self._places.blob(digest), path)
        return path

    def list(self) -> set[Digest]:
        """Return the digests of all blobs; files with other names are not ours and stay."""
        found = set()
        for name in os.listdir(self._places.blobs):
            if len(name) == 64:
                found.add(parse_digest(f"sha256:{name}"))
        return found
