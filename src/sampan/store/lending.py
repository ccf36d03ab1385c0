"""What a host-to-host copy asks of a store: which blobs an image has, and which of some are not here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.ids import Digest, parse_digest
from sampan.store.blobs import Blobs, StagedBlob
from sampan.store.catalog import Catalog
from sampan.store.model import Image
from sampan.store.sources import LayerSources


@dataclass(frozen=True, slots=True)
class Lending:
    """Blobs that images here are made of."""

    catalog: Catalog
    blobs: Blobs
    sources: LayerSources

    def blobs_of(self, image: Image) -> dict[Digest, int]:
        """Return everything that an image is made of, with sizes: configuration, manifest, layers."""
        layers = [source.blob for source in self.sources.of(image)]
        every = (image.id, parse_digest(image.manifest.digest), *layers)
        return {digest: self.blobs.size(digest) for digest in every}

    def missing(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        """Return those of some blobs that no image here has."""
        return [one for one in digests if not (self.catalog.needs_blob(one) and self.blobs.exists(one))]

    def find(self, digest: Digest) -> StagedBlob | None:
        """Return a blob that an image here has, for one that comes without it."""
        if not self.catalog.needs_blob(digest) or not self.blobs.exists(digest):
            return None
        return StagedBlob(self.blobs.path(digest), digest, self.blobs.size(digest))
