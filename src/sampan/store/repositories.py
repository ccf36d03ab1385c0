"""What the repositories of a registry hold: blobs, manifests, tags, and who refers to whom.

Records only; content lies with the other blobs (`Catalog.needed_blobs` counts what is named here), and goes
when no repository and no image needs it. A repository exists while it has a manifest or a blob.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sampan.errors import Conflict, NotFound
from sampan.ids import Digest
from sampan.store.blobs import Blobs, StagedBlob
from sampan.store.collector import Collector
from sampan.store.content_names import ContentName
from sampan.store.database import Database, Row
from sampan.store.pins import Pins

COMPONENT: Final = "repositories"

_TOUCH_EVERY_NS: Final = 600 * 10**9

STEPS: Final = (
    """
    CREATE TABLE repository_blobs (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,           -- as the client calls it
        content TEXT NOT NULL,          -- the blob's file
        size_bytes INTEGER NOT NULL,
        touched_ns INTEGER NOT NULL,    -- pushed or mounted last: a manifest may be about to name it
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX repository_blobs_by_content ON repository_blobs (content);
    CREATE TABLE repository_manifests (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        content TEXT NOT NULL,
        media_type TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        subject TEXT NOT NULL,          -- digest of the manifest it refers to; '': none
        artifact_type TEXT NOT NULL,
        annotations TEXT NOT NULL,      -- a JSON object
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX repository_manifests_by_content ON repository_manifests (content);
    CREATE INDEX repository_manifests_by_subject ON repository_manifests (repository, subject);
    CREATE TABLE repository_references (  -- blobs and child manifests that a manifest names
        repository TEXT NOT NULL,
        manifest TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (repository, manifest, digest),
        FOREIGN KEY (repository, manifest) REFERENCES repository_manifests ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX repository_references_by_digest ON repository_references (repository, digest);
    CREATE TABLE repository_tags (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (repository, tag),
        FOREIGN KEY (repository, digest) REFERENCES repository_manifests ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX repository_tags_by_digest ON repository_tags (repository, digest);
    """,
)


@dataclass(frozen=True, slots=True)
class HeldBlob:
    """A blob of a repository: what the client calls it, and where it lies."""

    digest: ContentName
    content: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldManifest:
    """A manifest of a repository. subject "": it refers to none."""

    digest: ContentName
    content: Digest
    media_type: str
    size_bytes: int
    subject: str = ""
    artifact_type: str = ""
    annotations: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The digests a manifest names: blobs and child manifests it needs; foreign layers need not be here."""

    blobs: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()


class Repositories:
    """All repositories of a store; thread-safe."""

    _MANIFEST = "digest, content, media_type, size_bytes, subject, artifact_type, annotations"

    def __init__(self, db: Database, blobs: Blobs, pins: Pins, collector: Collector) -> None:
        self._db = db
        self._blobs = blobs
        self._pins = pins
        self._collector = collector

    def path(self, content: Digest) -> str:
        """Return the file of a blob or a manifest."""
        return self._blobs.path(content)

    def list(self, *, after: str = "", limit: int = -1) -> list[str]:
        """Return names of repositories in byte order, those behind a name, at most limit (-1: all)."""
        rows = self._db.query(
            "SELECT repository FROM repository_manifests WHERE repository > ?1 UNION "
            "SELECT repository FROM repository_blobs WHERE repository > ?1 ORDER BY 1 LIMIT ?2",
            (after, limit),
        )
        return [str(row[0]) for row in rows]

    def exists(self, repository: str) -> bool:
        """Tell whether anything was ever pushed there and not removed since."""
        sql = (
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM repository_manifests WHERE repository = ?1) "
            "OR EXISTS (SELECT 1 FROM repository_blobs WHERE repository = ?1)"
        )
        return self._db.query_one(sql, (repository,)) is not None

    def tags(self, repository: str, *, after: str = "", limit: int = -1) -> Sequence[str]:
        """Return tags in byte order, those behind one, at most limit (-1: all)."""
        rows = self._db.query(
            "SELECT tag FROM repository_tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?",
            (repository, after, limit),
        )
        return [str(row[0]) for row in rows]

    def find_blob(self, repository: str, digest: ContentName) -> HeldBlob | None:
        """Return a blob of a repository."""
        return self._blob("repository = ? AND digest = ?", (repository, digest))

    def find_blob_anywhere(self, digest: ContentName) -> HeldBlob | None:
        """Return a blob that any repository has."""
        return self._blob("digest = ?", (digest,))

    def _blob(self, where: str, values: Sequence[str]) -> HeldBlob | None:
        row = self._db.query_one(
            f"SELECT digest, content, size_bytes FROM repository_blobs WHERE {where}",  # noqa: S608 -- ours
            values,
        )
        if row is None:
            return None
        return HeldBlob(ContentName(str(row[0])), Digest(str(row[1])), int(str(row[2])))

    def find_manifest(self, repository: str, digest: ContentName) -> HeldManifest | None:
        """Return a manifest by its digest."""
        sql = f"SELECT {self._MANIFEST} FROM repository_manifests WHERE repository = ? AND digest = ?"  # noqa: S608
        row = self._db.query_one(sql, (repository, digest))
        return _manifest(row) if row else None

    def find_tagged(self, repository: str, tag: str) -> HeldManifest | None:
        """Return the manifest a tag names."""
        sql = (
            f"SELECT {self._MANIFEST} FROM repository_manifests JOIN repository_tags "  # noqa: S608
            "USING (repository, digest) WHERE repository = ? AND tag = ?"
        )
        row = self._db.query_one(sql, (repository, tag))
        return _manifest(row) if row else None

    def referrers(self, repository: str, subject: ContentName) -> Sequence[HeldManifest]:
        """Return the manifests that name a subject, which need not exist itself."""
        sql = (
            f"SELECT {self._MANIFEST} FROM repository_manifests "  # noqa: S608
            "WHERE repository = ? AND subject = ? ORDER BY digest"
        )
        return [_manifest(row) for row in self._db.query(sql, (repository, subject))]

    def add_blob(self, repository: str, staged: StagedBlob, *, name: ContentName) -> HeldBlob:
        """Keep a staged file and record it; on the disk when this returns."""
        blob = HeldBlob(name, staged.digest, staged.size_bytes)
        with self._pins.held([staged.digest]):
            self._blobs.keep(staged)
            self._blobs.sync()
            self.mount_blob(repository, blob)
        return blob

    def mount_blob(self, repository: str, blob: HeldBlob) -> None:
        """Record a blob of another repository for this one too."""
        self._db.execute(
            "INSERT OR REPLACE INTO repository_blobs VALUES (?, ?, ?, ?, ?)",
            (repository, blob.digest, blob.content, blob.size_bytes, time.time_ns()),
        )

    def touch_blob(self, repository: str, digest: ContentName) -> None:
        """Note that a blob was wanted, at most once in a while: it is not swept for some more time."""
        now = time.time_ns()
        self._db.execute(
            "UPDATE repository_blobs SET touched_ns = ? "
            "WHERE repository = ? AND digest = ? AND touched_ns < ?",
            (now, repository, digest, now - _TOUCH_EVERY_NS),
        )

    def set_tag(self, repository: str, tag: str, digest: ContentName) -> None:
        """Let a tag name a manifest that is here."""
        with self._db.transaction(durable=True):
            self._set_tags(repository, digest, [tag])

    def add_manifest(
        self, repository: str, manifest: HeldManifest, raw: bytes, *, names: Names, tags: Iterable[str]
    ) -> None:
        """Keep a manifest with what it names and its new tags; on the disk when this returns.

        Raises:
            NotFound: it names what the repository does not have.
        """
        staged = self._blobs.stage(raw)
        with self._pins.held([manifest.content]):
            self._blobs.keep(staged)
            self._blobs.sync()
            with self._db.transaction(durable=True):
                complete = not self._missing(repository, names)
                if complete:
                    self._insert(repository, manifest, names)
                    self._set_tags(repository, manifest.digest, tags)
        if not complete:
            self._collector.release([manifest.content])
            raise NotFound(f"not in {repository}: {', '.join(self._missing(repository, names))}")

    def _missing(self, repository: str, names: Names) -> Sequence[str]:
        """Return what is not here. An index may name blobs as well: BuildKit's of a cache does."""
        manifests = {
            one for one in names.children if self.find_manifest(repository, ContentName(one)) is not None
        }
        rest = [*names.blobs, *sorted(names.children - manifests)]
        return [one for one in rest if self.find_blob(repository, ContentName(one)) is None]

    def _set_tags(self, repository: str, digest: ContentName, tags: Iterable[str]) -> None:
        for tag in tags:
            sql = "INSERT OR REPLACE INTO repository_tags VALUES (?, ?, ?)"
            self._db.execute(sql, (repository, tag, digest))

    def _insert(self, repository: str, manifest: HeldManifest, names: Names) -> None:
        self._db.execute(
            f"INSERT OR IGNORE INTO repository_manifests (repository, {self._MANIFEST}) "  # noqa: S608
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                repository,
                manifest.digest,
                manifest.content,
                manifest.media_type,
                manifest.size_bytes,
                manifest.subject,
                manifest.artifact_type,
                msgspec.json.encode(manifest.annotations).decode(),
            ),
        )
        for digest in names.blobs | names.children | names.foreign:
            self._db.execute(
                "INSERT OR IGNORE INTO repository_references VALUES (?, ?, ?)",
                (repository, manifest.digest, digest),
            )

    def remove_tag(self, repository: str, tag: str) -> bool:
        """Take a tag away; its manifest stays. False: there is none."""
        with self._db.transaction(durable=True):
            sql = "DELETE FROM repository_tags WHERE repository = ? AND tag = ?"
            return self._db.execute(sql, (repository, tag)) > 0

    def remove_manifest(self, repository: str, manifest: HeldManifest) -> None:
        """Forget a manifest with its tags; its file goes unless something else needs it."""
        with self._db.transaction(durable=True):
            self._db.execute(
                "DELETE FROM repository_manifests WHERE repository = ? AND digest = ?",
                (repository, manifest.digest),
            )
        self._collector.release([manifest.content])

    def remove_blob(self, repository: str, blob: HeldBlob) -> None:
        """Forget a blob of a repository; its file goes unless something else needs it.

        Raises:
            Conflict: a manifest of the repository names it.
        """
        with self._db.transaction(durable=True):
            removed = self._db.execute(
                "DELETE FROM repository_blobs WHERE repository = ?1 AND digest = ?2 AND NOT EXISTS "
                "(SELECT 1 FROM repository_references WHERE repository = ?1 AND digest = ?2)",
                (repository, blob.digest),
            )
        if not removed:
            raise Conflict(f"a manifest of {repository} names blob {blob.digest}")
        self._collector.release([blob.content])

    def sweep(self, *, older_than_s: float) -> int:
        """Forget blobs that no manifest of their repository names and nobody touched for so long."""
        limit_ns = time.time_ns() - int(older_than_s * 1e9)
        with self._db.transaction(durable=True):
            rows = self._db.query(
                "DELETE FROM repository_blobs WHERE touched_ns < ? AND NOT EXISTS (SELECT 1 FROM "
                "repository_references AS r WHERE r.repository = repository_blobs.repository "
                "AND r.digest = repository_blobs.digest) RETURNING content",
                (limit_ns,),
            )
        self._collector.release([Digest(str(row[0])) for row in rows])
        return len(rows)


def _manifest(row: Row) -> HeldManifest:
    digest, content, media_type, size_bytes, subject, artifact_type, annotations = (
        str(value) for value in row
    )
    return HeldManifest(
        digest=ContentName(digest),
        content=Digest(content),
        media_type=media_type,
        size_bytes=int(size_bytes),
        subject=subject,
        artifact_type=artifact_type,
        annotations=msgspec.json.decode(annotations, type=dict[str, str]),
    )
