"""What a registry serves from: repositories of a store, or the images of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sampan.ids import Digest
from sampan.store.content_names import ContentName
from sampan.store.repositories import HeldBlob, HeldManifest


class Shelves(Protocol):
    """The reading half; thread-safe. Lists are in byte order, of what is behind `after` (limit -1: all)."""

    def path(self, content: Digest) -> str:
        """Return the file of a blob or a manifest."""
        ...

    def list(self, *, after: str = "", limit: int = -1) -> list[str]:
        """Return names of repositories."""
        ...

    def exists(self, repository: str) -> bool:
        """Tell whether a repository holds anything."""
        ...

    def tags(self, repository: str, *, after: str = "", limit: int = -1) -> Sequence[str]:
        """Return tags of a repository."""
        ...

    def find_blob(self, repository: str, digest: ContentName) -> HeldBlob | None:
        """Return a blob of a repository."""
        ...

    def find_manifest(self, repository: str, digest: ContentName) -> HeldManifest | None:
        """Return a manifest by its digest."""
        ...

    def find_tagged(self, repository: str, tag: str) -> HeldManifest | None:
        """Return the manifest a tag names."""
        ...

    def referrers(self, repository: str, subject: ContentName) -> Sequence[HeldManifest]:
        """Return the manifests that name a subject."""
        ...
