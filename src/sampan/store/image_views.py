"""Images as directories of layers, for those who only look: the layers stay while somebody does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sampan.ids import Digest
from sampan.store.layers import Layers
from sampan.store.model import Image
from sampan.store.places import Places
from sampan.store.sources import LayerSources


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer of an image."""

    chain_id: Digest
    diff_id: Digest
    blob: Digest
    size_bytes: int  # unpacked; 0 while it is not


class ImageViews:
    """Opens the layers of recorded images; thread-safe."""

    def __init__(self, places: Places, layers: Layers, sources: LayerSources) -> None:
        self._places = places
        self._layers = layers
        self._sources = sources

    def layers(self, image: Image) -> Sequence[LayerView]:
        """Return an image's layers, lowest first."""
        return [
            LayerView(one.chain_id, one.diff_id, one.blob, self._layers.size(one.chain_id))
            for one in self._sources.of(image)
        ]

    @contextmanager
    def directories(self, image: Image) -> Iterator[tuple[str, ...]]:
        """Unpack an image where it is not, and give the directories of its layers, lowest first.

        There are at least two of them, as overlayfs wants without an upper one.
        """
        sources = self._sources.of(image)
        with self._layers.ensure(sources):
            yield (
                self._places.make_empty_layer(),
                *self._layers.lower(sources[-1].chain_id if sources else None),
            )
