"""Takes staged images into the store: blobs kept, layers unpacked, then everything recorded at once."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sampan.errors import InvalidArgument
from sampan.ids import Digest
from sampan.spec.image import Descriptor, ImageConfig, parse_config
from sampan.store.blobs import Blobs, StagedBlob
from sampan.store.catalog import Catalog
from sampan.store.collector import Collector
from sampan.store.database import Database
from sampan.store.layers import BlobSource, Layers, LayerSource
from sampan.store.layout import Layout
from sampan.store.model import Loaded, ProgressCallback
from sampan.store.pins import Pins
from sampan.store.references import Reference
from sampan.store.sources import layer_sources
from sampan.store.variants import Variants


class Arriving(BlobSource, Protocol):
    """Blobs that are on their way."""

    def finish(self, digest: Digest) -> None:
        """Wait until a blob is whole and has been compared with its digest.

        Raises:
            SampanError: it does not come, or is another one.
        """
        ...


@dataclass(frozen=True, slots=True)
class StagedImage:
    """An image whose every blob lies in `tmp/`, with digests that have been computed from the content."""

    config: StagedBlob
    config_document: bytes
    manifest: StagedBlob
    manifest_type: str
    layers: tuple[StagedBlob, ...]  # lowest first
    references: tuple[Reference, ...] = ()
    parent: Digest | None = None  # the image it was made from here


@dataclass(frozen=True, slots=True)
class StagedIndex:
    """An index that names are to mean, and which of the images that come with it they mean.

    images: by their ids, the one that is meant without a platform first. more: what else of it comes.
    """

    blob: StagedBlob
    media_type: str
    references: tuple[Reference, ...]
    images: tuple[Digest, ...]
    more: tuple[StagedBlob, ...] = ()


@dataclass(frozen=True, slots=True)
class _Planned:
    image: StagedImage
    config: ImageConfig
    sources: tuple[LayerSource, ...]

    @property
    def blobs(self) -> tuple[StagedBlob, ...]:
        return (self.image.config, self.image.manifest, *self.image.layers)

    @property
    def digests(self) -> list[Digest]:
        """Everything that must stay while the image comes in."""
        return [blob.digest for blob in self.blobs] + [source.chain_id for source in self.sources]


class Intake:
    """The only way by which images come in; thread-safe."""

    def __init__(
        self,
        db: Database,
        catalog: Catalog,
        blobs: Blobs,
        layers: Layers,
        layout: Layout,
        pins: Pins,
        collector: Collector,
        variants: Variants,
    ) -> None:
        self._variants = variants
        self._db = db
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._layout = layout
        self._pins = pins
        self._collector = collector
        self._keeping = threading.Lock()  # two pulls share the file of a blob that arrives

    def take(
        self,
        images: Sequence[StagedImage],
        *,
        indexes: Sequence[StagedIndex] = (),
        progress: ProgressCallback | None = None,
    ) -> list[Loaded]:
        """Take in all images, and indexes of them, or none.

        The staged files that were not moved stay for the caller to remove.

        Raises:
            InvalidArgument: an image is damaged, hostile or not for Linux.
        """
        planned = [_plan(image) for image in images]
        extra = [blob for index in indexes for blob in (index.blob, *index.more)]
        with self._pins.held([blob.digest for blob in extra]), self._pinned(planned):
            self._keep_blobs([*extra, *(blob for plan in planned for blob in plan.blobs)])
            for plan in planned:
                self._layers.ensure(plan.sources, progress=progress).release()
            self._record(planned, indexes)
        unnamed = {image for index in indexes for image in index.images}
        return [loaded for plan in planned for loaded in _loaded(plan.image, unnamed)]

    def take_arriving(
        self, image: StagedImage, arriving: Arriving, *, progress: ProgressCallback | None = None
    ) -> Digest:
        """Take in an image whose layers still come: each is unpacked while it grows; return the image's id.

        The paths of image.layers are where the blobs lie when they are whole. Nothing is kept or recorded
        before every blob has the size and digest of its name and every layer its diff id.

        Raises:
            InvalidArgument: a blob or the image is damaged, hostile or not for Linux.
        """
        plan = _plan(image)
        with self._pinned([plan]):
            self._layers.ensure(plan.sources, progress=progress, blobs=arriving).release()
            with self._keeping:
                missing = {blob.digest: blob for blob in plan.blobs if not self._blobs.exists(blob.digest)}
                for digest, blob in missing.items():
                    arriving.finish(digest)
                    self._blobs.keep(blob)
                self._blobs.sync()
            self._record([plan])
        return image.config.digest

    def name(self, image_id: Digest, references: Sequence[Reference]) -> None:
        """Give names to an image that is here; they move from those that have them."""
        with self._db.transaction(durable=True):
            for reference in references:
                self._catalog.set_name(reference, image_id)
        self._layout.write()

    def name_if_here(self, image_id: Digest, manifest: Digest, references: Sequence[Reference]) -> bool:
        """Give names to an image, if it is here with this manifest; tell whether it is.

        Nothing is written when it has its names already: an image that is built again is free.
        """
        found = self._catalog.find(image_id)
        if found is None or found.manifest.digest != manifest:
            return False
        fresh = [one for one in references if self._catalog.find_by_name(one) != image_id]
        if not fresh:
            return True
        with self._db.transaction(durable=True):
            if self._catalog.find(image_id) is None:  # removed meanwhile
                return False
            for reference in fresh:
                self._catalog.set_name(reference, image_id)
        self._layout.write()
        return True

    @contextmanager
    def _pinned(self, planned: Sequence[_Planned]) -> Iterator[None]:
        """Keep everything of images on the disk until they are recorded, or collect what became of them."""
        pinned = [digest for plan in planned for digest in plan.digests]
        self._pins.add(pinned)
        try:
            yield
        except BaseException:
            self._pins.drop(pinned)
            self._collector.collect()
            raise
        self._pins.drop(pinned)
        self._collector.collect()  # blobs of another manifest for an image that was here already
        self._layout.write()

    def _keep_blobs(self, blobs: Sequence[StagedBlob]) -> None:
        kept: set[Digest] = set()
        for blob in blobs:
            if blob.digest not in kept:
                self._blobs.keep(blob)
                kept.add(blob.digest)
        self._blobs.sync()

    def _record(self, planned: Sequence[_Planned], indexes: Sequence[StagedIndex] = ()) -> None:
        with self._db.transaction(durable=True):
            for plan in planned:
                image_id = plan.image.config.digest
                manifest = plan.image.manifest
                self._catalog.add(
                    image_id,
                    manifest=Descriptor(
                        mediaType=plan.image.manifest_type,
                        digest=manifest.digest,
                        size=manifest.size_bytes,
                    ),
                    chain_id=plan.sources[-1].chain_id if plan.sources else None,
                    blobs=[blob.digest for blob in plan.blobs],
                    parent=plan.image.parent,
                )
                for reference in plan.image.references:
                    self._catalog.set_name(reference, image_id)
            for index in indexes:
                self._name_by(index)

    def _name_by(self, index: StagedIndex) -> None:
        blob = index.blob
        descriptor = Descriptor(mediaType=index.media_type, digest=blob.digest, size=blob.size_bytes)
        for reference in index.references:
            for image_id in index.images:
                self._variants.add(
                    reference,
                    image_id,
                    index=descriptor,
                    blobs=[one.digest for one in index.more],
                    first=image_id == index.images[0],
                )


def _plan(image: StagedImage) -> _Planned:
    config = parse_config(image.config_document)
    if config.os not in ("linux", ""):
        raise InvalidArgument(f"image operating system {config.os!r} cannot be used on this platform")
    return _Planned(image, config, layer_sources(config, [layer.digest for layer in image.layers]))


def _loaded(image: StagedImage, of_index: Container[Digest]) -> list[Loaded]:
    image_id = image.config.digest
    if not image.references:
        return [] if image_id in of_index else [Loaded(None, image_id)]
    return [Loaded(reference, image_id) for reference in image.references]
