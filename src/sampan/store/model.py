"""What the store's answers are made of: values, no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sampan.ids import ContainerId, Digest
from sampan.spec.image import Descriptor, ImageConfig
from sampan.store.references import Reference


@dataclass(frozen=True, slots=True)
class Image:
    """One image as recorded when it was looked up."""

    id: Digest  # of the configuration document
    config: ImageConfig
    manifest: Descriptor
    tags: tuple[Reference, ...]
    digests: tuple[Reference, ...]  # name@digest, known from a registry
    size_bytes: int  # of the unpacked layers
    last_tagged_ns: int  # Unix time, 0 if never
    parent: Digest | None = None  # the image of the container it was committed from

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every name, tags first."""
        return self.tags + self.digests

    @property
    def layers(self) -> tuple[Digest, ...]:
        """Diff ids, lowest first."""
        return tuple(Digest(text) for text in self.config.rootfs.diff_ids)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image of an archive, under one of its names or under none."""

    reference: Reference | None
    image_id: Digest


@dataclass(frozen=True, slots=True)
class Removed:
    """One step of a removal: text is a familiar reference, or the id of an image or a layer's chain id."""

    kind: Literal["untagged", "deleted"]
    text: str


@dataclass(frozen=True, slots=True)
class ImageUser:
    """A container made from an image."""

    container_id: ContainerId
    running: bool


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of `docker history`."""

    image_id: Digest | None  # None: Docker's <missing>
    created: str  # RFC 3339, as in the configuration
    created_by: str
    comment: str
    size_bytes: int
    tags: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one layer is: `unpacking` with bytes of the blob, then `done`."""

    layer: str  # the first 12 digits of the diff id
    status: Literal["unpacking", "done", "exists"]
    current_bytes: int
    total_bytes: int


ProgressCallback = Callable[[Progress], None]
Users = Callable[[Digest], Sequence[ImageUser]]
