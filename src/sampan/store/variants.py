"""Images for several platforms under one name: the index it was pulled by, and which of its images are here.

`image_names` has the image that a name means when nobody says a platform: the one for this machine if it is
here, else the one pulled last. The others are variants. Records only; a name that gets another image by any
other way loses its index, its variants and its blobs (foreign keys).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.ids import Digest
from sampan.spec.image import Descriptor
from sampan.store.catalog import Catalog
from sampan.store.database import Database
from sampan.store.references import Reference


@dataclass(frozen=True, slots=True)
class Variants:
    """Records of names with an index; each call is a transaction unless the caller has one open."""

    db: Database
    catalog: Catalog

    def index_of(self, reference: Reference) -> Descriptor | None:
        """Return the index that a name was pulled by."""
        row = self.db.query_one(
            "SELECT digest, media_type, size_bytes FROM name_indexes WHERE name = ?", (str(reference),)
        )
        return (
            None
            if row is None
            else Descriptor(digest=str(row[0]), mediaType=str(row[1]), size=int(str(row[2])))
        )

    def blobs(self, reference: Reference) -> Sequence[Digest]:
        """Return what is here of a name's index besides images: attestations and their content."""
        rows = self.db.query("SELECT digest FROM name_blobs WHERE name = ?", (str(reference),))
        return [Digest(str(row[0])) for row in rows]

    def images(self, reference: Reference) -> Sequence[Digest]:
        """Return every image that a name means, the one without a platform first."""
        first = self.catalog.find_by_name(reference)
        if first is None:
            return []
        rows = self.db.query(
            "SELECT image_id FROM name_variants WHERE name = ? ORDER BY image_id", (str(reference),)
        )
        return [first, *(Digest(str(row[0])) for row in rows)]

    def add(
        self,
        reference: Reference,
        image_id: Digest,
        *,
        index: Descriptor,
        blobs: Iterable[Digest],
        first: bool,
    ) -> None:
        """Let a name mean one more image of its index; another index than before replaces all there was.

        first: it is the one that is meant without a platform.
        """
        name = str(reference)
        with self.db.transaction():
            known = self.index_of(reference)
            if known is None or known.digest != index.digest:
                self.catalog.set_name(reference, image_id)
                self.db.execute(
                    "INSERT INTO name_indexes VALUES (?, ?, ?, ?)",
                    (name, index.digest, index.mediaType, index.size),
                )
            else:
                self._join(reference, image_id, first=first)
            for digest in blobs:
                self.db.execute("INSERT OR IGNORE INTO name_blobs VALUES (?, ?)", (name, digest))

    def _join(self, reference: Reference, image_id: Digest, *, first: bool) -> None:
        name, before = str(reference), self.catalog.find_by_name(reference)
        if before == image_id:
            return
        other = before if first else image_id
        if first:
            self.db.execute("DELETE FROM name_variants WHERE name = ? AND image_id = ?", (name, image_id))
            self.db.execute("UPDATE image_names SET image_id = ? WHERE name = ?", (image_id, name))
        self.db.execute("INSERT OR IGNORE INTO name_variants VALUES (?, ?)", (name, other))

    def copy(self, source: Reference, target: Reference) -> None:
        """Let a name that means the same image mean all that another one means."""
        names = (str(target), str(source))
        with self.db.transaction():
            for table, columns in (
                ("name_indexes", "digest, media_type, size_bytes"),
                ("name_variants", "image_id"),
                ("name_blobs", "digest"),
            ):
                self.db.execute(
                    f"INSERT INTO {table} SELECT ?, {columns} FROM {table} WHERE name = ?",  # noqa: S608 -- ours
                    names,
                )

    def part(self, references: Iterable[Reference], image_id: Digest) -> None:
        """Take names from one image; another one of the same index takes its place."""
        with self.db.transaction(durable=True):
            for reference in references:
                images = self.images(reference)
                name = (str(reference),)
                if image_id in images[1:]:
                    sql = "DELETE FROM name_variants WHERE name = ? AND image_id = ?"
                    self.db.execute(sql, (*name, image_id))
                elif len(images) > 1:
                    sql = "DELETE FROM name_variants WHERE name = ? AND image_id = ?"
                    self.db.execute(sql, (*name, images[1]))
                    self.db.execute("UPDATE image_names SET image_id = ? WHERE name = ?", (images[1], *name))
                else:
                    self.db.execute("DELETE FROM image_names WHERE name = ?", name)
