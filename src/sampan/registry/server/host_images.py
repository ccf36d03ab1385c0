"""The images of a sampand's data root as repositories, read while that sampand works. Nothing is changed.

`docker.io/library/busybox:latest` is `library/busybox`, tag `latest`: what a mirror of Docker Hub would call
it; other names keep their domain where the grammar of repositories allows it (no port, no brackets).
An image that is removed while somebody pulls it is missing from then on; its open files are sent to the end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import apsw

from sampan.errors import InvalidArgument, NotFound
from sampan.ids import Digest
from sampan.registry.server.errors import RegistryError
from sampan.registry.server.names import check_name
from sampan.store.content_names import ContentName
from sampan.store.places import Places
from sampan.store.references import DEFAULT_DOMAIN, Reference, parse_reference
from sampan.store.repositories import HeldBlob, HeldManifest

_NAMES: Final = (
    "SELECT name, image_id, manifest, manifest_type, manifest_bytes "
    "FROM image_names JOIN images ON id = image_id"
)
_BUSY_MS: Final = 5000


class HostImages:
    """Shelves made of the images in state.db; each question opens it anew, so a new sampand is no trouble."""

    def __init__(self, data_root: str) -> None:
        self._places = Places(os.path.realpath(data_root))
        if not os.path.exists(self._places.database):
            raise NotFound(f"no images of a sampand in {data_root}", hint="start sampand there first")

    def path(self, content: Digest) -> str:
        """Return the file of a blob or a manifest."""
        return self._places.blob(content)

    def list(self, *, after: str = "", limit: int = -1) -> list[str]:
        """Return names of repositories."""
        names = sorted({_repository(name) for name, *_ in self._rows(_NAMES)} - {""})
        found = [name for name in names if name > after]
        return found if limit < 0 else found[:limit]

    def exists(self, repository: str) -> bool:
        """Tell whether an image has such a name."""
        return bool(self._named(repository))

    def tags(self, repository: str, *, after: str = "", limit: int = -1) -> Sequence[str]:
        """Return tags of a repository."""
        tags = sorted({_reference(row).tag for row in self._named(repository)} - {""})
        found = [tag for tag in tags if tag > after]
        return found if limit < 0 else found[:limit]

    def find_blob(self, repository: str, digest: ContentName) -> HeldBlob | None:
        """Return a blob of an image of that name."""
        needed = self._rows("SELECT image_id FROM image_blobs WHERE digest = ?", (str(digest),))
        images = {row[0] for row in needed}
        if not any(row[1] in images for row in self._named(repository)):
            return None
        return self._held(Digest(digest))

    def _held(self, content: Digest) -> HeldBlob | None:
        try:
            return HeldBlob(ContentName(content), content, os.stat(self.path(content)).st_size)
        except FileNotFoundError:
            return None

    def find_manifest(self, repository: str, digest: ContentName) -> HeldManifest | None:
        """Return an image's manifest by its digest."""
        return next((_held(row) for row in self._named(repository) if row[2] == digest), None)

    def find_tagged(self, repository: str, tag: str) -> HeldManifest | None:
        """Return the manifest of the image that has this name."""
        return next((_held(row) for row in self._named(repository) if _reference(row).tag == tag), None)

    def referrers(self, _repository: str, _subject: ContentName) -> Sequence[HeldManifest]:
        """Return none: a host keeps images only."""
        return []

    def _named(self, repository: str) -> Sequence[tuple[str, ...]]:
        return [row for row in self._rows(_NAMES) if _repository(row[0]) == repository]

    def _rows(self, sql: str, values: tuple[str, ...] = ()) -> Sequence[tuple[str, ...]]:
        connection = apsw.Connection(self._places.database, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(_BUSY_MS)
            return [tuple(map(str, row)) for row in connection.execute(sql, values)]
        finally:
            connection.close()


def _reference(row: tuple[str, ...]) -> Reference:
    return parse_reference(row[0])


def _repository(name: str) -> str:
    """Return what a full name's repository is called here; "" where it cannot be called anything."""
    try:
        reference = parse_reference(name)
        path = reference.path if reference.domain == DEFAULT_DOMAIN else reference.name
        return check_name(path)
    except (InvalidArgument, RegistryError):
        return ""


def _held(row: tuple[str, ...]) -> HeldManifest:
    _, _, digest, media_type, size_bytes = row
    return HeldManifest(
        digest=ContentName(digest),
        content=Digest(digest),
        media_type=media_type,
        size_bytes=int(size_bytes),
        annotations={},
    )
