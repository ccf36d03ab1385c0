"""Which blobs an image's layers are unpacked from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sampan.errors import InvalidArgument, SampanError
from sampan.ids import Digest, parse_digest
from sampan.spec.image import ImageConfig, Manifest, parse_config, parse_manifest_or_index
from sampan.store.blobs import Blobs
from sampan.store.digests import chain_ids
from sampan.store.layers import LayerSource
from sampan.store.model import Image


class LayerSources:
    """Reads configurations and manifests of recorded images; what was read once is kept."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._config = lru_cache(maxsize=256)(self._read_config)
        self._sources = lru_cache(maxsize=256)(self._read_sources)

    def config(self, image_id: Digest) -> ImageConfig:
        """Return an image's configuration."""
        return self._config(image_id)

    def manifest(self, digest: Digest) -> Manifest:
        """Return an image's manifest."""
        manifest = parse_manifest_or_index(self._blobs.read(digest), media_type="")
        if not isinstance(manifest, Manifest):
            raise SampanError(f"blob {digest} is no image manifest")
        return manifest

    def of(self, image: Image) -> Sequence[LayerSource]:
        """Return the layers of an image, lowest first."""
        return self._sources(image.id, parse_digest(image.manifest.digest))

    def _read_config(self, image_id: Digest) -> ImageConfig:
        return parse_config(self._blobs.read(image_id))

    def _read_sources(self, image_id: Digest, manifest_digest: Digest) -> Sequence[LayerSource]:
        layers = self.manifest(manifest_digest).layers
        return layer_sources(self.config(image_id), [layer.digest for layer in layers])


def layer_sources(config: ImageConfig, layer_digests: Sequence[str]) -> tuple[LayerSource, ...]:
    """Join a configuration's diff ids with the manifest's layers, both lowest first.

    Raises:
        InvalidArgument: their numbers differ, or one is no digest.
    """
    diff_ids = [parse_digest(text) for text in config.rootfs.diff_ids]
    if len(diff_ids) != len(layer_digests):
        raise InvalidArgument(
            f"image has {len(layer_digests)} layers in its manifest, {len(diff_ids)} in its configuration"
        )
    chain = chain_ids(diff_ids)
    return tuple(
        LayerSource(chain_id, diff_id, parent, parse_digest(blob))
        for chain_id, diff_id, parent, blob in zip(
            chain, diff_ids, [None, *chain][: len(chain)], layer_digests, strict=True
        )
    )
