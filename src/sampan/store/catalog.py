"""The records of images and their names in state.db. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.ids import Digest
from sampan.spec.image import Descriptor
from sampan.store.database import Database, Row
from sampan.store.references import Reference, parse_reference


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One row of `images`."""

    id: Digest
    manifest: Descriptor
    chain_id: Digest | None
    added_ns: int
    tagged_ns: int
    parent: Digest | None


class Catalog:
    """Images and names; each call is a transaction unless the caller has one open."""

    _COLUMNS = "id, manifest, manifest_type, manifest_bytes, chain_id, added_ns, tagged_ns, parent"

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(
        self,
        image_id: Digest,
        *,
        manifest: Descriptor,
        chain_id: Digest | None,
        blobs: Iterable[Digest],
        parent: Digest | None = None,
    ) -> None:
        """Record an image; one that is there stays as it is."""
        with self._db.transaction():
            added = self._db.execute(
                f"INSERT OR IGNORE INTO images ({self._COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",  # noqa: S608 -- a constant
                (
                    image_id,
                    manifest.digest,
                    manifest.mediaType,
                    manifest.size,
                    chain_id,
                    time.time_ns(),
                    parent or "",
                ),
            )
            if added:
                for digest in set(blobs):
                    self._db.execute("INSERT INTO image_blobs VALUES (?, ?)", (image_id, digest))

    def remove(self, names: Iterable[Reference], *, delete: Digest | None = None) -> None:
        """Take names away, and forget an image with all that are left; on the disk before its files go."""
        with self._db.transaction(durable=True):
            for name in names:
                self._db.execute("DELETE FROM image_names WHERE name = ?", (str(name),))
            if delete is not None:
                self._db.execute("DELETE FROM images WHERE id = ?", (delete,))

    def find(self, image_id: Digest) -> ImageRecord | None:
        """Return the record of an image."""
        row = self._db.query_one(f"SELECT {self._COLUMNS} FROM images WHERE id = ?", (image_id,))  # noqa: S608
        return _record(row) if row else None

    def find_by_name(self, reference: Reference) -> Digest | None:
        """Return the id of the image that has exactly this full reference."""
        row = self._db.query_one("SELECT image_id FROM image_names WHERE name = ?", (str(reference),))
        return _digest(row[0]) if row else None

    def find_by_prefix(self, digits: str) -> list[Digest]:
        """Return up to two ids that begin with hexadecimal digits."""
        rows = self._db.query(
            "SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2",
            (f"sha256:{digits}", f"sha256:{digits}g"),
        )
        return [_digest(row[0]) for row in rows]

    def all(self) -> list[ImageRecord]:
        """Return every record, the one added last first."""
        rows = self._db.query(f"SELECT {self._COLUMNS} FROM images ORDER BY added_ns DESC")  # noqa: S608
        return [_record(row) for row in rows]

    def names(self, image_id: Digest) -> list[Reference]:
        """Return the names of an image in alphabetical order."""
        rows = self._db.query(
            "SELECT name FROM image_names WHERE image_id = ?1 UNION "
            "SELECT name FROM name_variants WHERE image_id = ?1 ORDER BY name",
            (image_id,),
        )
        return [parse_reference(str(row[0])) for row in rows]

    def all_names(self) -> dict[Digest, list[Reference]]:
        """Return the names of all images by id, in alphabetical order."""
        return self._names_in("image_names UNION SELECT name, image_id FROM name_variants")

    def first_names(self) -> dict[Digest, list[Reference]]:
        """Return the names that mean an image without a platform, by id, in alphabetical order."""
        return self._names_in("image_names")

    def _names_in(self, tables: str) -> dict[Digest, list[Reference]]:
        names: dict[Digest, list[Reference]] = {}
        for name, image_id in self._db.query(f"SELECT name, image_id FROM {tables} ORDER BY name"):  # noqa: S608 -- ours
            names.setdefault(_digest(image_id), []).append(parse_reference(str(name)))
        return names

    def set_name(self, reference: Reference, image_id: Digest) -> None:
        """Give a name to an image, away from the one that has it."""
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO image_names VALUES (?, ?)", (str(reference), image_id))
            self._db.execute("UPDATE images SET tagged_ns = ? WHERE id = ?", (time.time_ns(), image_id))

    def needed_blobs(self) -> set[Digest]:
        """Return the digests of all blobs that images, builds and repositories need, also packed."""
        rows = self._db.query(
            "SELECT digest FROM image_blobs UNION SELECT blob FROM build_layers UNION "
            "SELECT packed FROM packed_blobs WHERE plain IN (SELECT digest FROM image_blobs UNION "
            "SELECT blob FROM build_layers) UNION "
            "SELECT content FROM repository_blobs UNION SELECT content FROM repository_manifests UNION "
            "SELECT digest FROM name_indexes UNION SELECT digest FROM name_blobs"
        )
        return {_digest(row[0]) for row in rows}

    def needs_blob(self, digest: Digest) -> bool:
        """Tell whether some image or repository needs a blob, as `needed_blobs`."""
        sql = (
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM image_blobs WHERE digest = ?1 "
            "OR digest IN (SELECT plain FROM packed_blobs WHERE packed = ?1)) "
            "OR EXISTS (SELECT 1 FROM build_layers WHERE blob = ?1 "
            "OR blob IN (SELECT plain FROM packed_blobs WHERE packed = ?1)) "
            "OR EXISTS (SELECT 1 FROM repository_blobs WHERE content = ?1) "
            "OR EXISTS (SELECT 1 FROM repository_manifests WHERE content = ?1) "
            "OR EXISTS (SELECT 1 FROM name_indexes WHERE digest = ?1) "
            "OR EXISTS (SELECT 1 FROM name_blobs WHERE digest = ?1)"
        )
        return self._db.query_one(sql, (digest,)) is not None

    def names_with_blob(self, digest: Digest) -> list[Reference]:
        """Return the names of all images that have a blob, as it is or packed."""
        rows = self._db.query(
            "SELECT DISTINCT name FROM image_names JOIN image_blobs USING (image_id) "
            "WHERE digest = ? OR digest IN (SELECT plain FROM packed_blobs WHERE packed = ?)",
            (digest, digest),
        )
        return [parse_reference(str(row[0])) for row in rows]


def _record(row: Row) -> ImageRecord:
    image_id, manifest, media_type, size, chain_id, added_ns, tagged_ns, parent = row
    return ImageRecord(
        id=_digest(image_id),
        manifest=Descriptor(mediaType=str(media_type), digest=str(manifest), size=int(str(size))),
        chain_id=None if chain_id is None else _digest(chain_id),
        added_ns=int(str(added_ns)),
        tagged_ns=int(str(tagged_ns)),
        parent=_digest(parent) if parent else None,
    )


def _digest(value: object) -> Digest:
    return Digest(str(value))  # checked when it was written
