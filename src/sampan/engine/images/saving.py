"""`docker save`: which images and names a list of words means (API, `/images/get`).

Source: moby, daemon/internal/image/tarexport/save.go, parseNames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sampan.engine.core import Core
from sampan.engine.images.hello_image import resolve_image
from sampan.engine.observing.events import image_event
from sampan.errors import InvalidArgument, NotFound
from sampan.spec import docker
from sampan.spec.image import Platform
from sampan.store.model import Image
from sampan.store.platforms import matches
from sampan.store.references import Reference, parse_reference
from sampan.store.saving import OpenSave, Wanted


def open_save(core: Core, words: Sequence[str], *, platforms: Sequence[Platform]) -> OpenSave:
    """See `Images.open_save`."""
    wanted = [
        _with_platforms(core, one, word, platforms)
        for word in words
        for one in find_wanted(core, word, platforms[0] if platforms else None)
    ]
    opened = core.store.saving.open(wanted)
    for one in wanted:
        core.events.emit(_event(one.image))
    return opened


def _with_platforms(core: Core, one: Wanted, word: str, platforms: Sequence[Platform]) -> Wanted:
    """Add the images for other platforms that a name means: all that are here, or those asked for.

    Raises:
        NotFound: one that was asked for is not here.
    """
    images = core.store.images
    index = images.index_of(one.names[0]) if one.names else None
    every = tuple(images.variants(one.names[0])) if index else (one.image,)
    chosen = [_choose(every, word, platform) for platform in platforms] or list(every)
    if len(chosen) == 1 or index is None:
        return replace(one, image=chosen[0])
    more = () if platforms else tuple(images.index_blobs(one.names[0]))
    return replace(one, image=chosen[0], others=tuple(chosen[1:]), index=index, more=more)


def _choose(images: Sequence[Image], word: str, platform: Platform) -> Image:
    for image in images:
        if matches(platform, image.config.platform):
            return image
    raise NotFound(
        f"image with reference {word} was found but does not provide the specified platform ({platform})"
    )


def find_wanted(core: Core, word: str, platform: Platform | None = None) -> Sequence[Wanted]:
    """Return what a word means: a tag, all tags of a repository, or an id, which brings no names.

    platform: of several images with a name, of which one is returned.

    Raises:
        NotFound: `No such image: X`.
    """
    try:
        reference = parse_reference(word)
    except InvalidArgument:
        return [Wanted(resolve_image(core, word), ())]  # a full id
    if not reference.tag and not reference.digest:
        every = _all_tags(core, reference, platform)
        if every:
            return every
    image = _resolve(core, word, platform)
    name = reference.with_default_tag()
    return [Wanted(image, (name,) if name in image.tags and not reference.digest else ())]


def _resolve(core: Core, word: str, platform: Platform | None) -> Image:
    """Find an image; here Docker's message has the word as it was written."""
    try:
        return resolve_image(core, word, platform)
    except NotFound as exc:
        raise NotFound(f"No such image: {word}") from exc


def _all_tags(core: Core, repository: Reference, platform: Platform | None) -> list[Wanted]:
    images = core.store.images
    tags = {tag for image in images.list() for tag in image.tags if tag.name == repository.name}
    return [Wanted(images.resolve(str(tag), platform), (tag,)) for tag in sorted(tags, key=str)]


def _event(image: Image) -> docker.Event:
    name = image.tags[0].familiar if image.tags else image.id
    return image_event("save", image.id, name, image.config.config.Labels)
