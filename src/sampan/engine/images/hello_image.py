"""The image `hello`: part of the package, so that a first container needs no network and no other step.

It is made when it is first asked for, at most once for a data root: whoever removes it is not given it again
(`sampan image bootstrap hello` brings it back). A crash between the two steps of `_make` leaves the image
without its note; then it can come back once more.
"""

from __future__ import annotations

import time
from typing import Final

from sampan.engine.core import Core
from sampan.engine.observing.events import image_event
from sampan.errors import InvalidArgument, NotFound
from sampan.ids import Digest
from sampan.spec.image import Platform
from sampan.store import hello
from sampan.store.model import Image
from sampan.store.references import parse_reference, parse_tagged

_NAME: Final = "hello"
# Made with the first use, not at the start of sampand: most data roots never need it.
_STEPS: Final = ("CREATE TABLE built_in_images (name TEXT PRIMARY KEY, made_ns INTEGER NOT NULL) STRICT",)


def resolve_image(core: Core, text: str, platform: Platform | None = None) -> Image:
    """Find an image as the store does (`Images.resolve`); `hello` appears when it was never there.

    Raises:
        NotFound: `No such image: X:tag`.
    """
    try:
        return core.store.images.resolve(text, platform)
    except NotFound:
        if not _means_hello(text) or _was_made(core):
            raise
        make_hello(core)
        return core.store.images.resolve(text, platform)


def make_hello(core: Core) -> Digest:
    """Make the image, whether it was there or not, and note that it was."""
    with hello.archive() as archive:
        image_id = core.store.images.load(archive)[0].image_id
    core.store.db.migrate("built-in images", _STEPS)
    core.store.db.execute("INSERT OR REPLACE INTO built_in_images VALUES (?, ?)", (_NAME, time.time_ns()))
    core.events.emit(image_event("load", image_id, f"{_NAME}:latest"))
    return image_id


def _means_hello(text: str) -> bool:
    try:
        return parse_reference(text).with_default_tag() == parse_tagged(_NAME)
    except InvalidArgument:
        return False


def _was_made(core: Core) -> bool:
    core.store.db.migrate("built-in images", _STEPS)
    row = core.store.db.query_one("SELECT made_ns FROM built_in_images WHERE name = ?", (_NAME,))
    return row is not None
