"""Layers as they travel: a plain one is compressed when it is first sent, and the result remembered.

The compressed blob stays as long as an image needs the plain one (`Catalog.needed_blobs`). A crash in between
leaves a blob that no record knows: the next collection takes it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from isal import isal_zlib

from sampan.errors import SampanError
from sampan.ids import Digest
from sampan.store.archive.compression import CHUNK_BYTES, PlainStream
from sampan.store.blobs import Blobs, StagedBlob
from sampan.store.database import Database
from sampan.store.pins import Pins
from sampan.store.places import Places
from sampan.store.staging import Staging

_LEVEL: Final = 1  # 513 MB/s; level 3 takes twice the time for 2 % (decision 0001)
_GZIP: Final = 31  # window bits: a gzip header without a time, so that the same layer gives the same blob


@dataclass(frozen=True, slots=True)
class Packed:
    """The blob that stands for a layer on the way: itself, if it is compressed already."""

    digest: Digest
    size_bytes: int
    is_new_form: bool  # another blob than the manifest names


class Packer:
    """Compresses layers; thread-safe, each layer once."""

    def __init__(self, places: Places, db: Database, blobs: Blobs, pins: Pins) -> None:
        self._places = places
        self._db = db
        self._blobs = blobs
        self._pins = pins
        self._busy: dict[Digest, threading.Lock] = {}
        self._lock = threading.Lock()

    def pack(self, plain: Digest) -> Packed:
        """Return the compressed form of a layer's blob; the caller's image keeps it on the disk.

        Raises:
            NotFound: the blob is not here.
        """
        with self._lock:
            alone = self._busy.setdefault(plain, threading.Lock())
        with alone:
            known = self._find(plain)
            if known is not None:
                return known
            with self._blobs.open(plain) as blob:
                if PlainStream(blob).compression != "none":
                    return Packed(plain, self._blobs.size(plain), is_new_form=False)
            return self._compress(plain)

    def _find(self, plain: Digest) -> Packed | None:
        row = self._db.query_one("SELECT packed, size_bytes FROM packed_blobs WHERE plain = ?", (plain,))
        if row is None or not self._blobs.exists(Digest(str(row[0]))):
            return None
        return Packed(Digest(str(row[0])), int(str(row[1])), is_new_form=True)

    def _compress(self, plain: Digest) -> Packed:
        with Staging(self._places) as staging, self._blobs.open(plain) as blob:
            staged: StagedBlob = staging.add(_compressed(blob, plain))
            with self._pins.held([staged.digest]):
                self._blobs.keep(staged)
                self._blobs.sync()
                with self._db.transaction():
                    self._db.execute(
                        "INSERT OR REPLACE INTO packed_blobs VALUES (?, ?, ?)",
                        (plain, staged.digest, staged.size_bytes),
                    )
        return Packed(staged.digest, staged.size_bytes, is_new_form=True)


def _compressed(blob: BinaryIO, wanted: Digest) -> Iterator[bytes]:
    """Yield a blob compressed; what goes out is compared with its digest, for a damaged disk."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
    plain = hashlib.sha256()
    while chunk := blob.read(CHUNK_BYTES):
        plain.update(chunk)
        yield packer.compress(chunk)
    if f"sha256:{plain.hexdigest()}" != wanted:
        raise SampanError(f"blob {wanted} is damaged", hint="load or pull its image again")
    yield packer.flush()
