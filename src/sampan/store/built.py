"""Layers that builds make: an upper directory is renamed to be the layer, its tar written beside it once.

```
 upper ──▶ Packer ──▶ tmp/….tar, sha256         (for save and push)
   └────── rename ──▶ layers/<chain id>/diff    (what is mounted)
```

A layer of a build stays for as long as `build_layers` names it, whether an image has it or not. Killed at any
point, what is not recorded lies in `tmp/` or has no record; the next start sweeps both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sampan.errors import InvalidArgument
from sampan.ids import Digest
from sampan.spec.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
    encode,
)
from sampan.store.archive.packing import Packer
from sampan.store.archive.readable import Readable
from sampan.store.archive.unpack import Unpacked
from sampan.store.archive.writer import TarWriter
from sampan.store.blobs import Blobs, StagedBlob
from sampan.store.collector import Collector
from sampan.store.database import Database
from sampan.store.digests import chain_ids, digest_of
from sampan.store.hashed_file import HashedFile
from sampan.store.intake import Intake, StagedImage
from sampan.store.layers import Layers, LayerSource
from sampan.store.merging import merge_layers
from sampan.store.model import Image
from sampan.store.pins import Pins
from sampan.store.places import Places
from sampan.store.references import Reference
from sampan.store.sources import LayerSources
from sampan.store.staging import Staging
from sampan.store.trees import tree_size

Keep = Callable[["BuiltLayer | None"], None]
OpenBlob = Callable[[], AbstractContextManager[Readable]]
_PIECE = 1 << 20
_FILES = "files"  # beside a layer's `diff`


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """One layer: the digest of its tar, the blob it is kept as, and the blob's form."""

    diff_id: Digest
    blob: Digest
    blob_bytes: int
    media_type: str = OCI_LAYER


Stack = tuple[BuiltLayer, ...]  # lowest first


def top_of(stack: Stack) -> Digest | None:
    """Return the chain id of the highest layer, None for no layers."""
    return chain_ids([layer.diff_id for layer in stack])[-1] if stack else None


class Built:
    """The door for builders; thread-safe."""

    def __init__(
        self,
        places: Places,
        db: Database,
        blobs: Blobs,
        layers: Layers,
        pins: Pins,
        intake: Intake,
        sources: LayerSources,
        collector: Collector,
    ) -> None:
        self._places = places
        self._db = db
        self._blobs = blobs
        self._layers = layers
        self._pins = pins
        self._intake = intake
        self._sources = sources
        self._collector = collector

    def stack_of(self, image: Image) -> Stack:
        """Return the layers of an image, unpacked."""
        sources = self._sources.of(image)
        manifest = self._sources.manifest(Digest(image.manifest.digest))
        self._layers.ensure(sources).release()  # the image has them
        return tuple(
            BuiltLayer(source.diff_id, source.blob, layer.size, layer.mediaType)
            for source, layer in zip(sources, manifest.layers, strict=True)
        )

    def held(self, stack: Stack) -> AbstractContextManager[None]:
        """Keep a stack's layers and blobs on the disk for a block, whatever is removed meanwhile."""
        chain = chain_ids([layer.diff_id for layer in stack])
        return self._pins.held([*chain, *(layer.blob for layer in stack)])

    def add(self, below: Stack, upper: str, *, keep: Keep, files: bytes = b"") -> BuiltLayer | None:
        """Make a layer of an upper directory, which is gone then; None if nothing lies in it.

        The caller holds below. keep(layer) records it in one transaction with the store's own record.
        files: what `files_of` is to give for as long as the layer is here.

        Raises:
            OSError: the disk is full; nothing is left behind but upper.
        """
        with Staging(self._places) as staging:
            folder = staging.new_path()
            os.mkdir(folder, 0o700)
            blob, entries = pack_layer(upper, f"{folder}.tar")
            if not entries:
                keep(None)
                return None
            layer = BuiltLayer(blob.digest, blob.digest, blob.size_bytes)
            size = tree_size(upper)
            if files:
                with open(f"{folder}/{_FILES}", "xb") as file:
                    file.write(files)
            os.rename(upper, f"{folder}/diff")
            self._take(below, layer, blob, folder, size, keep)
            return layer

    def place(self, below: Stack, layer: BuiltLayer, *, keep: Keep) -> None:
        """Put a layer that is here by itself onto others: hard links, and nothing is packed again.

        The caller holds all of them. keep: as of `add`.
        """
        chain = chain_ids([one.diff_id for one in (*below, layer)])
        source = LayerSource(chain[-1], layer.diff_id, chain[-2], layer.blob)
        with (
            self._pins.held([chain[-1]]),
            self.merged((), (layer,)) as merged,
            Staging(self._places) as staging,
        ):
            folder = staging.new_path()
            os.mkdir(folder, 0o700)
            size = tree_size(merged)
            os.rename(merged, f"{folder}/diff")
            self._layers.adopt(source, folder, Unpacked(size, frozenset((b"",)), hides_below=False))
            self._record(source, layer, keep)

    @contextmanager
    def files_of(self, chain_id: Digest) -> Iterator[tuple[str, bytes] | None]:
        """Give a layer's directory, which stays for the block, and what `add` was told of its files.

        None: it is not here, or nothing was told.
        """
        with self._pins.held([chain_id]):
            if chain_id not in self._layers.known():
                yield None
                return
            try:
                with open(f"{self._places.layer(chain_id)}/{_FILES}", "rb") as file:
                    files = file.read()
            except FileNotFoundError:
                yield None
                return
            yield f"{self._places.layer(chain_id)}/diff", files

    def _take(
        self, below: Stack, layer: BuiltLayer, blob: StagedBlob, folder: str, size: int, keep: Keep
    ) -> None:
        chain = chain_ids([one.diff_id for one in (*below, layer)])
        source = LayerSource(chain[-1], layer.diff_id, chain[-2] if below else None, layer.blob)
        with self._pins.held([chain[-1], layer.blob]):
            self._blobs.keep(blob)
            self._layers.adopt(source, folder, Unpacked(size, frozenset(), hides_below=False))
            self._record(source, layer, keep)

    def _record(self, source: LayerSource, layer: BuiltLayer, keep: Keep) -> None:
        with self._db.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO build_layers VALUES (?, ?, ?)",
                (source.chain_id, layer.blob, time.time_ns()),
            )
            keep(layer)

    def fetch(self, below: Stack, layer: BuiltLayer, open_blob: OpenBlob, *, keep: Keep) -> None:
        """Take in a layer that was made elsewhere, unpacked; open_blob: gives its blob, where it is not here.

        The caller holds below. keep: as of `add`.

        Raises:
            InvalidArgument: the blob is not what its digest and size say. SampanError: it cannot be had.
        """
        chain = chain_ids([one.diff_id for one in (*below, layer)])
        source = LayerSource(chain[-1], layer.diff_id, chain[-2] if below else None, layer.blob)
        with self._pins.held([chain[-1], layer.blob]):
            if not self._blobs.exists(layer.blob):
                with Staging(self._places) as staging, open_blob() as stream:
                    staged = staging.add(_pieces(stream, layer.blob_bytes))
                    if (staged.digest, staged.size_bytes) != (layer.blob, layer.blob_bytes):
                        raise InvalidArgument(f"blob {layer.blob} is damaged: it has digest {staged.digest}")
                    self._blobs.keep(staged)
                    self._blobs.sync()
            self._layers.ensure([source]).release()
            self._record(source, layer, keep)

    @contextmanager
    def merged(self, below: Stack, above: Stack) -> Iterator[str]:
        """Yield a directory with what layers above others have together, to be added as one: `--squash`.

        The caller holds all of them.

        Raises:
            OSError: the disk is full; nothing is left behind.
        """
        chain = chain_ids([layer.diff_id for layer in (*below, *above)])
        with Staging(self._places) as staging:
            path = staging.new_path()
            os.mkdir(path, 0o755)
            folders = [os.path.realpath(self._layers.directory(one)) for one in chain[len(below) :]]
            merge_layers(folders, path)
            yield path

    def has(self, stack: Stack) -> bool:
        """Tell whether the highest layer of a stack is there."""
        top = top_of(stack)
        return top is None or (top in self._layers.known() and self._blobs.exists(stack[-1].blob))

    def lower(self, stack: Stack) -> list[str]:
        """Return the directories of a stack, lowest first."""
        return self._layers.lower(top_of(stack))

    def make_image(
        self,
        stack: Stack,
        config: ImageConfig,
        *,
        references: Sequence[Reference] = (),
        parent: Digest | None = None,
    ) -> Digest:
        """Record an image of layers that are here, give it its names, and return its id."""
        document = encode(config)
        image_id = digest_of(document)
        manifest = encode(
            Manifest(
                schemaVersion=2,
                mediaType=OCI_MANIFEST,
                config=Descriptor(mediaType=OCI_CONFIG, digest=image_id, size=len(document)),
                layers=[
                    Descriptor(mediaType=layer.media_type, digest=layer.blob, size=layer.blob_bytes)
                    for layer in stack
                ],
            )
        )
        if parent is None and self._intake.name_if_here(image_id, digest_of(manifest), references):
            return image_id
        with Staging(self._places) as staging:
            staged = staging.add([document])
            image = StagedImage(
                config=staged,
                config_document=document,
                manifest=staging.add([manifest]),
                manifest_type=OCI_MANIFEST,
                layers=tuple(
                    StagedBlob(self._places.blob(layer.blob), layer.blob, layer.blob_bytes) for layer in stack
                ),
                references=tuple(references),
                parent=parent,
            )
            self._intake.take([image])
            return staged.digest

    def forget(self, chain_ids_: Sequence[Digest]) -> list[Digest]:
        """Let layers of builds go; return the chain ids of those that were removed from the disk."""
        with self._db.transaction(durable=True):
            for chain_id in chain_ids_:
                self._db.execute("DELETE FROM build_layers WHERE chain_id = ?", (chain_id,))
        return self._collector.collect()

    def in_images(self) -> set[Digest]:
        """Return the chain ids of all layers that images have."""
        rows = self._db.query("SELECT DISTINCT chain_id FROM images WHERE chain_id IS NOT NULL")
        return {chain_id for row in rows for chain_id in self._layers.chain(Digest(str(row[0])))}

    def layer_size(self, chain_id: Digest) -> int:
        """Return the bytes of a layer's files; 0 when it is not here."""
        return self._layers.size(chain_id) if chain_id in self._layers.known() else 0

    def size(self, stack: Stack) -> int:
        """Return the bytes of a stack's highest layer."""
        top = top_of(stack)
        return 0 if top is None else self._layers.size(top)


def _pieces(stream: Readable, most_bytes: int) -> Iterator[bytes]:
    """Yield a stream, to one byte more than it may have: a longer one shows in its size."""
    left = most_bytes + 1
    while left > 0 and (piece := stream.read(min(_PIECE, left))):
        left -= len(piece)
        yield piece


def pack_layer(upper: str, path: str) -> tuple[StagedBlob, int]:
    """Pack an upper directory to a file; return it, and how many entries it has."""
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with HashedFile(path) as sink:
            writer = TarWriter(sink)
            packer = Packer(writer, layer=True)
            packer.add(fd, shown=b"")
            writer.finish()
            return sink.finish(), packer.entries
    finally:
        os.close(fd)
