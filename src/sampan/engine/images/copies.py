"""`image copy`: an image from one sampand to another, without what the other has already.

```
 client ─▶ source: GET  …/images/NAME/content                   names, and every blob with its size
        ─▶ target: POST …/images/missing   {"Digests"}          which of them it has not
        ─▶ source: POST …/images/NAME/archive {"Without"}       an archive of the rest ─┐
        ─▶ target: POST …/images/load ◀─────────────────────────────────────────────────┘ the rest is there
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from sampan.engine.core import Core
from sampan.engine.images.images import Images
from sampan.engine.images.saving import find_wanted
from sampan.engine.types import LoadedImage
from sampan.errors import Conflict
from sampan.ids import parse_digest
from sampan.store.saving import OpenSave


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an image."""

    Digest: str
    Size: int


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is made of."""

    Id: str
    Names: list[str]
    Blobs: list[Blob]


class MissingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /sampan/v1/images/missing."""

    Digests: list[str]


class ArchiveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /sampan/v1/images/{name}/archive."""

    Without: list[str] = []


class ImageCopies:
    """`engine.copies`."""

    def __init__(self, core: Core, images: Images) -> None:
        self._core = core
        self._images = images

    def content(self, ref: str) -> Content:
        """Tell what an image is made of; its names are the one that was asked by, or all of an id.

        Raises:
            NotFound: `No such image: X`.
        """
        wanted = find_wanted(self._core, ref)[0]
        names = wanted.names or wanted.image.tags
        blobs = self._core.store.lending.blobs_of(wanted.image)
        return Content(
            Id=wanted.image.id,
            Names=[name.familiar for name in names],
            Blobs=[Blob(Digest=digest, Size=size) for digest, size in blobs.items()],
        )

    def missing(self, digests: Sequence[str]) -> Sequence[str]:
        """Return which of some blobs are not here.

        Raises:
            InvalidArgument: one is no digest.
        """
        return self._core.store.lending.missing([parse_digest(one) for one in digests])

    def open_archive(self, ref: str, *, without: Sequence[str]) -> OpenSave:
        """Return an archive of an image without some of its blobs; the caller writes and closes it.

        Raises:
            NotFound: `No such image: X`.
        """
        left_out = frozenset(parse_digest(one) for one in without)
        return self._core.store.saving.open(find_wanted(self._core, ref)[:1], without=left_out)

    def load(self, stream: BinaryIO) -> list[LoadedImage]:
        """Take the image of such an archive; what it lacks is taken from images here.

        Raises:
            InvalidArgument: a blob is neither there nor here. Conflict: one has gone meanwhile.
        """
        try:
            return self._images.load(stream, lend=True)
        except FileNotFoundError as exc:
            raise Conflict(
                "an image here was removed while its layers were wanted", hint="copy again"
            ) from exc
