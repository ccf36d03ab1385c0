"""What a registry client needs of the store: what is here already, and the way in for what comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sampan.ids import Digest
from sampan.spec.image import Descriptor, Platform, parse_config
from sampan.store.blobs import Blobs
from sampan.store.catalog import Catalog
from sampan.store.digests import chain_ids
from sampan.store.intake import Arriving, Intake, StagedImage
from sampan.store.layers import Layers
from sampan.store.model import ProgressCallback
from sampan.store.packing import Packed, Packer
from sampan.store.partials import Partials
from sampan.store.pins import Pins
from sampan.store.places import Places
from sampan.store.platforms import matches
from sampan.store.references import Reference
from sampan.store.staging import Staging
from sampan.store.variants import Variants


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index as it came, and what of it is no image: attestations and their content."""

    raw: bytes
    media_type: str
    more: tuple[bytes, ...] = ()


class Arrivals:
    """The store's side of pull and push; thread-safe."""

    def __init__(
        self,
        places: Places,
        catalog: Catalog,
        blobs: Blobs,
        layers: Layers,
        pins: Pins,
        intake: Intake,
        packer: Packer,
        variants: Variants,
    ) -> None:
        self._variants = variants
        self._places = places
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._pins = pins
        self._intake = intake
        self._packer = packer
        self.partials = Partials(places)

    def find_named(self, reference: Reference) -> Digest | None:
        """Return the image that has exactly this name."""
        return self._catalog.find_by_name(reference)

    def find_variant(self, reference: Reference, platform: Platform) -> Digest | None:
        """Return the image for a platform that has exactly this name."""
        for image_id in self._variants.images(reference):
            if matches(platform, parse_config(self._blobs.read(image_id)).platform):
                return image_id
        return None

    def index_of(self, reference: Reference) -> Descriptor | None:
        """Return the index that a name was pulled by."""
        return self._variants.index_of(reference)

    def has_image(self, image_id: Digest) -> bool:
        """Tell whether an image is recorded."""
        return self._catalog.find(image_id) is not None

    def unpacked(self, diff_ids: Sequence[Digest]) -> int:
        """Return how many layers of a stack are unpacked, from the lowest on."""
        known = self._layers.known()
        count = 0
        for chain_id in chain_ids(diff_ids):
            if chain_id not in known:
                break
            count += 1
        return count

    @contextmanager
    def holding(self, digests: Sequence[Digest]) -> Iterator[frozenset[Digest]]:
        """Keep blobs from being collected during a block; which of them are here is its value."""
        with self._pins.held(digests):
            yield frozenset(digest for digest in digests if self._blobs.exists(digest))

    def staging(self) -> Staging:
        """A folder for documents; use it in a `with`."""
        return Staging(self._places)

    def read_blob(self, digest: Digest) -> bytes:
        """Return a document of the store.

        Raises:
            NotFound: it is not here.
        """
        return self._blobs.read(digest)

    def blob_path(self, digest: Digest) -> str:
        """Return the file of a blob that is here."""
        return self._places.blob(digest)

    def pack(self, layer: Digest, *, as_it_is: bool) -> Packed:
        """Return the form of a layer's blob that travels: compressed once (`store.packing`), or itself."""
        if as_it_is:
            return Packed(layer, self._blobs.size(layer), is_new_form=False)
        return self._packer.pack(layer)

    def repositories_with(self, digest: Digest, domain: str) -> set[str]:
        """Return the repositories of a registry that images with a blob are named after by digest.

        A digest in a name means that the image came from there or was sent there, blob and all.
        """
        names = self._catalog.names_with_blob(digest)
        return {name.path for name in names if name.digest and name.domain == domain}

    def name(self, image_id: Digest, references: Sequence[Reference]) -> None:
        """Give an image that is here its names."""
        self._intake.name(image_id, references)

    def name_by_index(
        self, image_id: Digest, references: Sequence[Reference], index: KeptIndex, *, first: bool
    ) -> None:
        """Give names to an image that is here as one of an index, which is kept (`Variants.add`)."""
        with self.staging() as staging:
            staged = [staging.add([raw]) for raw in (index.raw, *index.more)]
            with self._pins.held([one.digest for one in staged]):
                for one in staged:
                    self._blobs.keep(one)
                self._blobs.sync()
                descriptor = Descriptor(
                    mediaType=index.media_type, digest=staged[0].digest, size=len(index.raw)
                )
                for reference in references:
                    self._variants.add(
                        reference,
                        image_id,
                        index=descriptor,
                        blobs=[one.digest for one in staged[1:]],
                        first=first,
                    )
        self._intake.name(image_id, ())

    def take(
        self, image: StagedImage, arriving: Arriving, *, progress: ProgressCallback | None = None
    ) -> Digest:
        """Take an image in while its layers come (`Intake.take_arriving`)."""
        return self._intake.take_arriving(image, arriving, progress=progress)
